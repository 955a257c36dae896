// Reads the files of the result, from the server that serves this page.

const RETRY_AFTER = 5000; // milliseconds until a file that could not be read is requested again

/** The server does not answer: it has ended, or it is out of reach. */
export class Unreachable extends Error {}

/** Requests a file of the result, with the options of `fetch`. */
export async function get(name, options) {
  let response;
  try {
    response = await fetch(name, options);
  } catch (cause) {
    throw new Unreachable(`cannot read ${name}: ${cause.message}`, { cause });
  }
  if (!response.ok) throw new Error(`cannot read ${name}: ${(await response.text()) || response.statusText}`);
  return response;
}

/** The lines of a file such as `faces/00000.jsonl`, parsed. */
export async function lines(folder, number) {
  const response = await get(`${folder}/${String(number).padStart(5, "0")}.jsonl`);
  let text;
  try {
    text = await response.text();
  } catch (cause) {
    throw new Unreachable(`cannot read ${folder}: ${cause.message}`, { cause });
  }
  return text.split("\n").filter(Boolean).map((line) => JSON.parse(line));
}

/** Numbered files that are read on demand. The least recently used are dropped. */
export class Files {
  #entries = new Map(); // number → { value } or { loading } or { failedAt }, the least recently used first
  #kept;
  #read;
  #arrived;
  #failed;

  /** Keeps `kept` files in memory. `read(number)` reads one; then `arrived()` or `failed(error)` is called. */
  constructor(kept, read, arrived, failed) {
    [this.#kept, this.#read, this.#arrived, this.#failed] = [kept, read, arrived, failed];
  }

  #entry(number) {
    let entry = this.#entries.get(number);
    if (!entry || (entry.failedAt && performance.now() - entry.failedAt > RETRY_AFTER)) {
      entry = { value: null };
      entry.loading = this.#read(number).then((value) => (entry.value = value));
      entry.loading.then(
        () => this.#arrived(),
        (error) => {
          entry.failedAt = performance.now();
          this.#failed(error);
        },
      );
    }
    this.#entries.delete(number);
    this.#entries.set(number, entry);
    for (const oldest of this.#entries.keys()) {
      if (this.#entries.size <= this.#kept) break;
      this.#entries.delete(oldest);
    }
    return entry;
  }

  /** The file, if it was read. If it was not, it is requested, and null is returned. */
  peek(number) {
    return this.#entry(number).value;
  }

  /** The file, as soon as it was read. */
  load(number) {
    return this.#entry(number).loading;
  }

  /** The files in memory. */
  loaded() {
    return [...this.#entries.values()].flatMap(({ value }) => (value ? [value] : []));
  }
}
