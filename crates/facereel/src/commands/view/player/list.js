// The list of the faces at the moment that is shown.

import { percent, resize } from "./stage.js";

export class List {
  #list;
  #faces = [];

  /** `chosen(face)` is called when a face of the list is clicked. */
  constructor(list, chosen) {
    this.#list = list;
    list.addEventListener("click", (event) => {
      const item = event.target.closest("li");
      const face = item && this.#faces[[...list.children].indexOf(item)];
      if (face) chosen(face);
    });
  }

  /** Shows the faces of a moment. `marked(face)` says which of them to mark. */
  draw(faces, marked) {
    this.#faces = faces;
    resize(this.#list, faces.length, () => {
      const item = document.createElement("li");
      const button = document.createElement("button");
      button.type = "button";
      item.append(button);
      return item;
    });
    faces.forEach((face, index) => {
      const button = this.#list.children[index].firstChild;
      const words = wordsOf(face);
      if (button.textContent !== words) button.textContent = words;
      const pressed = String(marked(face));
      if (button.getAttribute("aria-pressed") !== pressed) button.setAttribute("aria-pressed", pressed);
    });
  }
}

function wordsOf({ track, kind, face }) {
  const parts = track === null ? [] : [`track ${track}`];
  if (typeof face.Confidence === "number") parts.push(`confidence ${percent(face.Confidence)}`);
  if (kind === "interpolated") parts.push("between two detections");
  if (kind === "extrapolated") parts.push("next to a detection");
  if (face.Pose) parts.push(`turned ${Math.round(face.Pose.Yaw)}°, tilted ${Math.round(face.Pose.Roll)}°`);
  if (face.AgeRange) parts.push(`age ${face.AgeRange.Low} to ${face.AgeRange.High}`);
  const [emotion] = [...(face.Emotions ?? [])].sort((a, b) => b.Confidence - a.Confidence);
  if (emotion) parts.push(emotion.Type.toLowerCase());
  if (!face.BoundingBox) parts.push("without a box");
  const text = parts.join(", ");
  return text.charAt(0).toUpperCase() + text.slice(1);
}
