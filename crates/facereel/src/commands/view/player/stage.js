// The stage: the picture with the boxes and landmarks.

const SVG = "http://www.w3.org/2000/svg";

export const percent = (confidence) => `${confidence.toFixed(1)} %`;

/** Gives an element exactly `count` children. */
export function resize(parent, count, make) {
  while (parent.children.length > count) parent.lastChild.remove();
  while (parent.children.length < count) parent.append(make());
}

/** An SVG element. */
export function svg(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [attribute, value] of Object.entries(attributes)) element.setAttribute(attribute, value);
  return element;
}

export class Stage {
  #stage;
  #boxes;
  #dots;
  #faces = []; // of the boxes, in order
  #byTrack = new Map(); // track, or a number for a face without one → box; a face keeps its box, so that it can be clicked while it moves

  /** `chosen(face)` is called when a box is clicked, and `elsewhere()` when the picture is. */
  constructor(stage, chosen, elsewhere) {
    this.#stage = stage;
    this.#boxes = stage.querySelector("#faces");
    this.#dots = stage.querySelector("#landmarks path");
    stage.addEventListener("click", (event) => {
      const box = event.target.closest(".face");
      const face = box && this.#faces[[...this.#boxes.children].indexOf(box)];
      if (face) chosen(face);
      else elsewhere();
    });
  }

  /** Gives the stage the shape of the picture. */
  shape({ width, height }) {
    this.#stage.style.setProperty("--shape", `${width} / ${height}`);
    this.#stage.style.setProperty("--ratio", width / height);
  }

  /** Draws the faces of a moment. `marked(face)` says which of them to mark. */
  draw(faces, { marked, labels, landmarks }) {
    this.#faces = faces.filter(({ face }) => face.BoundingBox);
    const before = this.#byTrack;
    this.#byTrack = new Map();
    let next = this.#boxes.firstChild;
    this.#faces.forEach((shown, index) => {
      const { Left, Top, Width, Height } = shown.face.BoundingBox;
      const key = shown.track ?? `untracked ${index}`;
      const box = before.get(key) ?? emptyBox();
      before.delete(key);
      this.#byTrack.set(key, box);
      if (box === next) next = next.nextSibling;
      else this.#boxes.insertBefore(box, next);
      for (const [side, ratio] of Object.entries({ left: Left, top: Top, width: Width, height: Height })) {
        box.style[side] = `${ratio * 100}%`;
      }
      box.className = `face ${shown.kind}${marked(shown) ? " followed" : ""}`;
      const label = labels ? labelOf(shown) : "";
      box.firstChild.hidden = !label;
      if (box.firstChild.textContent !== label) box.firstChild.textContent = label;
    });
    for (const box of before.values()) box.remove();
    const dots = landmarks ? faces.flatMap(({ face }) => face.Landmarks ?? []) : [];
    this.#dots.setAttribute("d", dots.map(({ X, Y }) => `M${X} ${Y}h0`).join(""));
  }
}

function emptyBox() {
  const box = document.createElement("div");
  box.append(document.createElement("span"));
  return box;
}

function labelOf({ face, kind }) {
  if (typeof face.Confidence !== "number") return "";
  return `${kind === "detected" ? "" : "≈ "}${percent(face.Confidence)}`;
}
