// Lists the videos and their results. The server sends the names, dates and states of all; everything else is fetched for the rows
// on the screen. Only the rows on the screen are elements of the page.

const BEYOND = 4; // rows above and below the screen that are elements too
const FACTS_PER_REQUEST = 100;
const PICTURES_KEPT = 1000; // at about 8 KB each
const PICTURE = { width: 240, height: 135 };
const PICTURE_TIMEOUT = 20_000; // milliseconds
const FRAME_TIMEOUT = 1500; // milliseconds
const STATES = { complete: "Complete", incomplete: "No manifest", running: "Running", failed: "Failed" };

const $ = (id) => document.getElementById(id);
const list = $("rows");
let videos = []; // { title, name, where, words, entries, newest, result, key }
let shown = []; // the videos that match the search, sorted
let sort = { by: "date", down: true };
let active = 0; // the position of the row that Tab reaches
let showsExecutions = true;

const facts = new Map(); // number of a result → what the server has read, or { error }
const pictures = new Map(); // number of a result → { url } or { reason }, the oldest first
const elements = new Map(); // key of a video → its row

// ---------------------------------------------------------------------------------------------------- the server

async function request(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Error("The server of this page does not answer. Start facereel view again.");
  }
  if (!response.ok) throw new Error((await response.text()) || `${path}: ${response.statusText}`);
  return response;
}

async function load() {
  const answer = await (await request("/catalogue.json")).json();
  const dates = new Map(videos.flatMap(({ entries }) => entries.map(({ id, date }) => [id, date])));
  videos = answer.rows.map(({ title, entries }) => {
    const cut = title.lastIndexOf("/") + 1;
    const result = entries.find(({ state }) => state === "complete");
    return {
      title, entries, result, newest: entries[0], key: title,
      name: title.slice(cut) || title, where: title.slice(0, cut), words: plain(title),
    };
  });
  // A result that was written again is read again.
  for (const { id, date } of videos.flatMap(({ entries }) => entries)) {
    if (dates.has(id) && dates.get(id) !== date) {
      facts.delete(id);
      pictures.delete(id);
    }
  }
  showsExecutions = answer.shows_executions || answer.is_on_this_machine;
  $("source").textContent = answer.source;
  document.title = `Results in ${answer.source} – facereel`;
  $("notes").hidden = answer.notes.length === 0;
  $("notes").replaceChildren(...answer.notes.map((note) => make("li", {}, note)));
  for (const option of $("state").options) {
    const count = videos.filter(({ newest }) => !option.value || newest.state === option.value).length;
    option.textContent = `${option.value === "incomplete" ? "no manifest" : option.value || "all"} (${number(count)})`;
  }
}

// Fetches what is missing of these results, some at a time.
async function fetchFacts(numbers, progress) {
  const missing = numbers.filter((id) => !facts.has(id));
  for (let from = 0; from < missing.length; from += FACTS_PER_REQUEST) {
    const part = missing.slice(from, from + FACTS_PER_REQUEST);
    const answer = await (await request(`/facts?of=${part.join(",")}`)).json();
    for (const id of part) facts.set(id, answer[id] ?? { error: "the result is no longer there; refresh the list" });
    if (progress?.(Math.min(from + FACTS_PER_REQUEST, missing.length), missing.length) === false) return false;
  }
  return true;
}

// ---------------------------------------------------------------------------------------------------- search and sort

// Without case and accents, so that "zurich" finds "Zürich", however a file system composes the letters.
const plain = (text) => text.normalize("NFKD").replace(/\p{Mark}/gu, "").toLowerCase();

const byFacts = { duration: "duration_ms", faces: "most_faces", tracks: "tracks" };
const natural = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

function value(video) {
  if (sort.by === "title") return video.title;
  if (sort.by === "date") return video.newest.date;
  if (sort.by === "state") return STATES[video.newest.state];
  return facts.get(video.result?.id)?.[byFacts[sort.by]];
}

// Sorts and filters. Videos without a value are last in both directions.
function arrange() {
  const words = plain($("search").value).split(/\s+/).filter(Boolean);
  const state = $("state").value;
  const found = videos.filter((video) => (!state || video.newest.state === state) && words.every((word) => video.words.includes(word)));
  const compare = (one, two) => (typeof one === "string" ? natural.compare(one, two) : one - two);
  const keyed = found.map((video) => ({ video, at: value(video) ?? null }));
  keyed.sort((one, two) => {
    if (one.at === null || two.at === null) return (one.at === null) - (two.at === null);
    return (sort.down ? -1 : 1) * compare(one.at, two.at) || natural.compare(one.video.title, two.video.title);
  });
  const before = shown[active];
  shown = keyed.map(({ video }) => video);
  active = Math.max(0, shown.indexOf(before));
  count();
  remember();
  render();
}

function count(text) {
  const all = videos.length === 1 ? "1 video" : `${number(videos.length)} videos`;
  $("count").textContent = text ?? (shown.length === videos.length ? all : `${number(shown.length)} of ${all}`);
}

let sorting = 0; // counts the requests to sort, so that only the last one has an effect

async function sortBy(by, down) {
  const mine = (sorting += 1);
  const earlier = sort;
  sort = { by, down };
  showSort();
  try {
    if (by in byFacts) {
      const results = videos.flatMap(({ result }) => (result ? [result.id] : []));
      if (results.some((id) => !facts.has(id))) count("Reading the summaries…");
      const progress = (done, all) => {
        if (mine !== sorting) return false;
        count(`Reading the summaries: ${number(done)} of ${number(all)}`);
      };
      if (!(await fetchFacts(results, progress)) || mine !== sorting) return;
    }
    scrollTo(0, Math.min(scrollY, top()));
    active = 0;
    arrange();
  } catch (error) {
    if (mine !== sorting) return;
    sort = earlier;
    showSort();
    count();
    complain(error);
  }
}

function showSort() {
  $("sort").value = `${sort.by}${sort.down ? "-" : "+"}`;
  for (const head of document.querySelectorAll("[data-sort]")) {
    if (head.dataset.sort === sort.by) head.setAttribute("aria-sort", sort.down ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  }
}

// The search, the order and the selected row are in the part of the URL that is not sent to the server, so that "back" shows them again.
function remember() {
  const state = new URLSearchParams();
  if ($("search").value) state.set("q", $("search").value);
  if ($("state").value) state.set("state", $("state").value);
  if (sort.by !== "date" || !sort.down) state.set("sort", $("sort").value);
  if (active > 0 && shown[active]) state.set("row", shown[active].newest.id);
  const text = state.toString();
  if (text !== location.hash.slice(1)) history.replaceState(null, "", text ? `#${text}` : location.pathname);
}

// ---------------------------------------------------------------------------------------------------- rows

const height = () => parseFloat(getComputedStyle(document.documentElement).getPropertyValue("--row"));
const top = () => list.getBoundingClientRect().top + scrollY;
const headHeight = () => (getComputedStyle($("head")).position === "sticky" ? $("head").offsetHeight : 0);

// The positions of the rows on the screen.
function onScreen() {
  const rowHeight = height();
  const from = Math.floor((scrollY + headHeight() - top()) / rowHeight);
  const to = Math.ceil((scrollY + innerHeight - top()) / rowHeight);
  return [Math.max(0, from), Math.max(0, Math.min(shown.length, to))];
}

let drawn = 0;

function render() {
  drawn = 0;
  const rowHeight = height();
  list.style.height = `${Math.max(shown.length, 1) * rowHeight}px`;
  $("table").setAttribute("aria-rowcount", shown.length + 1);
  const [from, to] = onScreen();
  const positions = [];
  for (let position = Math.max(0, from - BEYOND); position < Math.min(shown.length, to + BEYOND); position += 1) positions.push(position);
  // The selected row stays an element, so that it keeps the focus and can be reached with Tab.
  if (shown[active] && !positions.includes(active)) positions.splice(active < positions[0] ? 0 : positions.length, 0, active);

  const keys = new Set(positions.map((position) => shown[position].key));
  for (const [key, element] of elements) {
    if (keys.has(key)) continue;
    element.remove();
    elements.delete(key);
  }
  positions.forEach((position, index) => {
    const video = shown[position];
    const element = elements.get(video.key) ?? row(video);
    elements.set(video.key, element);
    fill(element, video, position);
    element.style.transform = `translateY(${position * rowHeight}px)`;
    if (list.children[index] !== element) list.insertBefore(element, list.children[index] ?? null);
  });
  want();
}

function later() {
  drawn ||= requestAnimationFrame(render);
}

function make(name, properties, ...children) {
  const element = document.createElement(name);
  for (const [property, value] of Object.entries(properties)) {
    if (property in element) element[property] = value;
    else element.setAttribute(property, value);
  }
  element.append(...children);
  return element;
}

function cell(className, unit) {
  const element = make("span", { className });
  element.setAttribute("role", "cell");
  if (unit) element.dataset.unit = unit;
  return element;
}

function row(video) {
  const element = make("div", { className: "row" });
  element.setAttribute("role", "row");
  const open = make(video.result ? "a" : "button", { className: "open" });
  if (!video.result) open.type = "button";
  const title = cell("title");
  const when = cell("date");
  when.append(make("span", {}), " ", make("small", {}));
  title.append(open, make("small", {}, make("span", { className: "where" }), make("button", { className: "more", type: "button" })));
  element.append(
    cell("picture"), title, when, cell("duration figure"), cell("faces figure", "faces"), cell("tracks figure", "tracks"), cell("state"),
  );
  return element;
}

function fill(element, video, position) {
  const { newest, result, entries } = video;
  let open = element.querySelector(".open");
  // After a refresh, a video can have its first result.
  if ((open.localName === "a") !== Boolean(result)) {
    const other = row(video);
    element.replaceChildren(...other.children);
    open = element.querySelector(".open");
  }
  const found = facts.get(result?.id);
  element.className = `row ${newest.state}`;
  element.setAttribute("aria-rowindex", position + 2);
  element.dataset.position = position;
  set(open, video.name);
  open.title = video.title;
  if (result) open.href = `/results/${result.id}/`;
  open.tabIndex = position === active ? 0 : -1;
  const more = element.querySelector(".more");
  more.tabIndex = open.tabIndex;
  more.hidden = entries.length === 1;
  set(more, `${entries.length} results`);
  more.setAttribute("aria-label", `${entries.length} results of ${video.name}`);

  const problem = newest.state === "failed" ? [newest.error, newest.cause].filter(Boolean).join(": ") : found?.error;
  // The directory of a local result often has the name of the video without its suffix.
  const file = found?.name && !plain(found.name).startsWith(plain(video.name)) ? found.name : "";
  const where = element.querySelector(".where");
  set(where, problem || [video.where, file].filter(Boolean).join(" · "));
  where.title = where.textContent;
  const [day, hour] = element.querySelector(".date").children;
  set(day, newest.date === null ? "" : dayOf(newest.date));
  set(hour, newest.date === null ? "" : hourOf(newest.date));
  const dots = result && !found ? "…" : "";
  set(element.querySelector(".duration"), dots || clock(found?.duration_ms));
  set(element.querySelector(".faces"), dots || number(found?.most_faces));
  set(element.querySelector(".tracks"), dots || number(found?.tracks));
  const state = element.querySelector(".state");
  state.className = `state ${newest.state}`;
  set(state, STATES[newest.state]);
  picture(element.querySelector(".picture"), result, found);
}

function set(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function picture(place, result, found) {
  const known = pictures.get(result?.id);
  if (known?.url) {
    if (place.firstChild?.src === known.url) return;
    place.replaceChildren(make("img", { src: known.url, alt: known.alt, width: PICTURE.width, height: PICTURE.height }));
  } else {
    set(place, result && found && !found.error ? (known?.reason ?? (found.has_video ? "" : "no video file")) : "");
  }
}

const number = (count) => (typeof count === "number" ? count.toLocaleString("en") : "");
const dayOf = (ms) => new Date(ms).toLocaleDateString([], { dateStyle: "medium" });
const hourOf = (ms) => new Date(ms).toLocaleTimeString([], { timeStyle: "short" });

function clock(ms) {
  if (typeof ms !== "number") return "";
  const seconds = Math.round(ms / 1000);
  const two = (number) => String(number).padStart(2, "0");
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  return `${hours ? `${hours}:${two(minutes)}` : minutes}:${two(seconds % 60)}`;
}

// ---------------------------------------------------------------------------------------------------- what the rows on the screen show

let wanting = 0;

// Fetches the facts of all rows that are elements, when they have been there for a moment, and then the pictures of those on the screen.
function want() {
  clearTimeout(wanting);
  wanting = setTimeout(async () => {
    const rows = [...list.children].map((element) => shown[element.dataset.position]);
    const results = rows.flatMap((video) => (video?.result ? [video.result.id] : []));
    try {
      if (await fetchFacts(results)) fillFacts(results);
    } catch (error) {
      complain(error);
    }
  }, 80);
}

function fillFacts(numbers) {
  for (const element of list.children) {
    const video = shown[element.dataset.position];
    if (video && numbers.includes(video.result?.id)) fill(element, video, Number(element.dataset.position));
  }
  drawPictures();
}

function visibleResults() {
  const [from, to] = onScreen();
  return shown.slice(from, to).flatMap(({ result }) => (result ? [result.id] : []));
}

let drawing = null; // the number of the result whose picture is drawn, and how to stop

async function drawPictures() {
  if (drawing && !visibleResults().includes(drawing.id)) drawing.stop.abort();
  if (drawing) return;
  for (;;) {
    const id = visibleResults().find((id) => facts.get(id)?.has_video && !pictures.has(id));
    if (id === undefined) return;
    const stop = new AbortController();
    drawing = { id, stop };
    const made = await draw(id, facts.get(id), stop.signal).catch((error) => ({ reason: error.message }));
    drawing = null;
    if (stop.signal.aborted) continue;
    pictures.set(id, made);
    for (const oldest of pictures.keys()) {
      if (pictures.size <= PICTURES_KEPT) break;
      pictures.delete(oldest);
    }
    for (const element of list.children) {
      const video = shown[element.dataset.position];
      if (video?.result?.id === id) picture(element.querySelector(".picture"), video.result, facts.get(id));
    }
  }
}

// Draws the frame with the most faces. One video at a time is loaded, and only as much of it as the frame needs.
async function draw(id, { most_faces_ms: at, codec, duration_ms: duration }, signal) {
  const video = make("video", { muted: true, preload: "metadata", playsInline: true });
  const happens = (name) =>
    new Promise((resolve, reject) => {
      const timeout = setTimeout(() => reject(new Error("the picture took too long")), PICTURE_TIMEOUT);
      const end = (action) => (event) => (clearTimeout(timeout), action(event));
      video.addEventListener(name, end(resolve), { once: true });
      video.addEventListener("error", end(() => reject(new Error(`not playable${codec && codec !== "h264" ? ` (${codec})` : ""}`))), { once: true });
      signal.addEventListener("abort", end(() => reject(new Error("not on the screen any more"))), { once: true });
    });
  try {
    const loaded = happens("loadedmetadata");
    video.src = `/results/${id}/video`;
    await loaded;
    // One millisecond later, the frame of the sample is certainly on the screen.
    const time = (at ?? (duration ?? 0) / 3) + 1;
    const [seeked, presented] = [happens("seeked"), frameAt(video, time)];
    video.currentTime = time / 1000;
    await seeked;
    await presented;
    const canvas = make("canvas", PICTURE);
    const scale = Math.max(PICTURE.width / video.videoWidth, PICTURE.height / video.videoHeight);
    const [width, height] = [video.videoWidth * scale, video.videoHeight * scale];
    if (!Number.isFinite(scale)) throw new Error("no picture");
    canvas.getContext("2d").drawImage(video, (PICTURE.width - width) / 2, (PICTURE.height - height) / 2, width, height);
    return { url: canvas.toDataURL("image/jpeg", 0.75), alt: `The frame at ${clock(time)}` };
  } finally {
    video.removeAttribute("src");
    video.load();
  }
}

// Resolves when the frame of this time can be drawn. After "seeked" alone, Chromium can draw black. If the browser does not report
// frames, or not that one, it resolves after a while.
function frameAt(video, time) {
  return new Promise((resolve) => {
    setTimeout(resolve, FRAME_TIMEOUT);
    const next = (_, { mediaTime }) => (Math.abs(mediaTime * 1000 - time) < 500 ? resolve() : video.requestVideoFrameCallback(next));
    video.requestVideoFrameCallback?.(next);
  });
}

// ---------------------------------------------------------------------------------------------------- controls

function select(position) {
  if (!shown.length) return;
  active = Math.max(0, Math.min(position, shown.length - 1));
  const rowHeight = height();
  const [above, below] = [top() + active * rowHeight - headHeight(), top() + (active + 1) * rowHeight - innerHeight];
  if (scrollY > above) scrollTo(0, active === 0 ? 0 : above);
  else if (scrollY < below) scrollTo(0, below);
  render();
  elements.get(shown[active].key).querySelector(".open").focus({ preventScroll: true });
  remember();
}

function showEntries(video) {
  $("entries-title").textContent = video.title;
  const items = video.entries.map(({ id, date: at, state, error, cause }, index) => {
    const when = at === null ? "no date" : `${dayOf(at)}, ${hourOf(at)}`;
    const label = `${when} – ${STATES[state].toLowerCase()}${index === 0 && video.entries.length > 1 ? ", the newest" : ""}`;
    const item = make("li", {}, state === "complete" ? make("a", { href: `/results/${id}/` }, label) : label);
    if (error) item.append(make("br", {}), [error, cause].filter(Boolean).join(": "));
    if (state === "incomplete") {
      item.append(make("br", {}), `There is no manifest${showsExecutions ? "" : ", and the executions are not known: choose the stack with --state-machine"}.`);
    }
    return item;
  });
  $("entries-list").replaceChildren(...items);
  $("entries").showModal();
}

function complain(error) {
  $("alert").hidden = false;
  $("alert").textContent = error.message ?? String(error);
}

async function refresh() {
  $("refresh").disabled = true;
  $("alert").hidden = true;
  count("Listing the results…");
  try {
    await request("/refresh", { method: "POST" });
    await load();
  } catch (error) {
    complain(error);
  } finally {
    $("refresh").disabled = false;
    // The new videos are read too, if the order depends on them.
    await sortBy(sort.by, sort.down);
  }
}

const perScreen = () => Math.max(1, Math.floor((innerHeight - headHeight()) / height()) - 1);
const actions = {
  "/": () => $("search").focus(),
  ArrowDown: () => select(list.contains(document.activeElement) ? active + 1 : active),
  ArrowUp: () => select(list.contains(document.activeElement) ? active - 1 : active),
  PageDown: () => select(active + perScreen()),
  PageUp: () => select(active - perScreen()),
  Home: () => select(0),
  End: () => select(shown.length - 1),
  o: () => shown[active] && showEntries(shown[active]),
  r: refresh,
  "?": () => $("help").showModal(),
};

document.addEventListener("keydown", (event) => {
  if (event.metaKey || event.ctrlKey || event.altKey || document.querySelector("dialog[open]")) return;
  const field = event.target.closest("input, select");
  if (field) {
    if (event.key === "Escape" && field.value && field === $("search")) {
      field.value = "";
      arrange();
    } else if (event.key === "ArrowDown" && field === $("search")) select(0);
    else return;
    event.preventDefault();
    return;
  }
  const action = actions[event.key];
  if (!action) return;
  event.preventDefault();
  action();
});

list.addEventListener("click", (event) => {
  const video = shown[event.target.closest(".row")?.dataset.position];
  if (video && event.target.closest("button")) showEntries(video);
});
list.addEventListener("focusin", (event) => {
  const position = Number(event.target.closest(".row").dataset.position);
  if (position === active) return;
  active = position;
  later();
  remember();
});
for (const head of document.querySelectorAll("[data-sort]")) {
  head.querySelector("button").addEventListener("click", () => {
    const { sort: by, first } = head.dataset;
    sortBy(by, sort.by === by ? !sort.down : first === "-");
  });
}
$("tools").addEventListener("submit", (event) => (event.preventDefault(), select(0)));
$("search").addEventListener("input", () => (scrollTo(0, 0), (active = 0), arrange()));
$("state").addEventListener("change", () => ((active = 0), arrange()));
$("sort").addEventListener("change", () => sortBy($("sort").value.slice(0, -1), $("sort").value.endsWith("-")));
$("refresh").addEventListener("click", refresh);
$("help-button").addEventListener("click", () => $("help").showModal());
addEventListener("scroll", later, { passive: true });
addEventListener("resize", later);

async function start() {
  count("Loading…");
  await load();
  const state = new URLSearchParams(location.hash.slice(1));
  $("search").value = state.get("q") ?? "";
  $("state").value = state.get("state") ?? "";
  $("sort").value = state.get("sort") ?? "date-";
  const chosen = $("sort").value || "date-";
  await sortBy(chosen.slice(0, -1), chosen.endsWith("-"));
  const selected = shown.findIndex(({ newest }) => String(newest.id) === state.get("row"));
  if (selected > 0) select(selected);
}

history.scrollRestoration = "manual";
start().catch(complain);
