// Whether the video that is played is the one that was analysed, and why it is not played.

import { clock } from "./time.js";

const SAME_LENGTH = 500; // milliseconds; players and Rekognition round the length in different ways

const CODECS = {
  h264: "H.264", avc1: "H.264", hevc: "HEVC (H.265)", h265: "HEVC (H.265)", hvc1: "HEVC (H.265)", av1: "AV1", vp9: "VP9", vp8: "VP8",
  mpeg4: "MPEG-4 Visual", mpeg2video: "MPEG-2", prores: "ProRes",
};

/** The usual name of a codec, null if the results do not name it. */
export const codecName = ({ codec }) => (codec ? (CODECS[codec.toLowerCase()] ?? codec) : null);

/** Why there is no picture, and what to do. `reason` is the browser's. */
export function unplayable(metadata, reason) {
  const codec = codecName(metadata);
  const remedy =
    codec === "H.264"
      ? "Chrome, Edge and Safari play H.264; some builds of Chromium and Firefox do not."
      : "Use a browser that plays this codec, or convert the video and name the new file: ffmpeg -i INPUT -c:v libx264 OUTPUT.mp4";
  const what = codec ? `its codec is ${codec}` : "the results do not name its codec";
  // If the browser does not know the codec, its reason says nothing more.
  const said = reason && (codec === null || codec === "H.264") ? ` (${reason})` : "";
  return `This browser cannot play the video: ${what}${said}. Faces, tracks and times are shown without the picture. ${remedy}`;
}

/** That the server cannot read the video. */
export const unreadable = ({ message }) => `${message.replace(/\.$/, "")}. Faces, tracks and times are shown without the picture.`;

/** Whether the browser shows the picture turned by a quarter compared with the frame that was analysed. */
export function isTurned(size, { frame_width: width, frame_height: height }) {
  return Boolean(size && width && height && width !== height && size.width === height && size.height === width);
}

/**
 * What differs between the video and the one that was analysed, in words. `bytes` is the size of the file, `size` the width and height
 * in which the browser shows it, `length` its length in milliseconds, and `range` the times of the first and the last face; each is
 * null if it is not known.
 */
export function differences(summary, { bytes, size, length, range }) {
  const { metadata, video } = summary;
  const found = [];
  const number = (value) => value.toLocaleString("en");
  const sameBytes = bytes === null ? null : bytes === video.bytes;
  if (sameBytes === false) found.push(`it has ${number(bytes)} bytes and not ${number(video.bytes)}`);
  const { frame_width: width, frame_height: height } = metadata;
  if (size && width && height && !isTurned(size, metadata)) {
    const others = [size.width !== width, size.height !== height].filter(Boolean).length;
    // If pixels are not square, browsers show the same video with another width or another height.
    if (others > (sameBytes ? 1 : 0)) found.push(`its picture has ${size.width} × ${size.height} pixels and not ${width} × ${height}`);
  }
  if (length !== null && metadata.duration_ms && Math.abs(length - metadata.duration_ms) > SAME_LENGTH) {
    found.push(`it plays for ${clock(length)} and not for ${clock(metadata.duration_ms)}`);
  }
  if (length !== null && range && range[0] > length) {
    found.push(`the first face was found at ${clock(range[0])}, after its end`);
  } else if (length !== null && range && range[1] > length + SAME_LENGTH) {
    found.push(`a face was found at ${clock(range[1])}, after its end`);
  }
  return found;
}

/** The sentences for these differences, null without any. `alike` is whether the size and the length of the video are the analysed ones. */
export function mismatch(found, sameBytes, alike, name) {
  if (found.length === 0) return null;
  if (alike && found.length === 1) {
    return `This is not the file that was analysed: ${found[0]}. Its picture and its length are those of the analysed video, so boxes fit if it was converted from that.`;
  }
  const list = found.length === 1 ? found[0] : `${found.slice(0, -1).join(", ")} and ${found.at(-1)}`;
  return sameBytes
    ? `The browser plays this file in another way than it was analysed: ${list}. Boxes can appear too early, too late or in the wrong place.`
    : `This is not the video that was analysed: ${list}. Boxes can be wrong. Name the right file of ${name}: facereel view RESULTS VIDEO`;
}
