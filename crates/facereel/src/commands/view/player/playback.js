// Playing: the time that is shown, and what moves it. That is the video, or, if the browser cannot play it, a clock.

const LATE = 15; // milliseconds after the time that was asked for; browsers keep to that time, except before the first frame

/**
 * Events: "frame" (another time is shown), "state" (played, paused, or at the end), "settled" (paused or sought, so that the time will
 * stay), "duration", "late" (detail: the time of the first frame in milliseconds, which was reached instead of an earlier time), "unplayable"
 * (detail: why; the clock has replaced the video), "refused" (detail: the error of play()).
 */
export class Playback extends EventTarget {
  #video;
  #clock = null; // { time (milliseconds), since (of performance.now()) or null while paused }
  #rate = 1;
  #length = 0; // milliseconds, as the results say
  #shown = 0;
  #looping = false;
  #shift = 0; // milliseconds by which the browser's times are later than those of the results
  #asked = Infinity; // the time to which the player is going in milliseconds; Infinity, if something else has moved it

  constructor(video) {
    super();
    this.#video = video;
    video.muted = true;
    const on = (names, listener) => names.forEach((name) => video.addEventListener(name, () => this.#clock ?? listener()));
    on(["play", "pause", "ended"], () => this.#emit("state"));
    on(["pause", "ended"], () => this.#emit("settled"));
    on(["seeked"], () => {
      if (this.time - this.#asked > LATE) this.#emit("late", video.currentTime * 1000);
      this.#asked = Infinity;
      if (!this.#reportsFrames) this.#show(this.time);
      if (video.paused) this.#emit("settled");
    });
    on(["play"], () => this.#loop());
    // A file with an edit list or with fragments can have another length when more of it is known.
    on(["loadedmetadata", "durationchange"], () => this.#emit("duration"));
    on(["loadedmetadata"], () => !this.#reportsFrames && this.#show(this.time));
    if ("requestVideoFrameCallback" in HTMLVideoElement.prototype) {
      const frame = (_, { mediaTime }) => {
        if (!this.#clock) this.#show(mediaTime * 1000 - this.#shift);
        video.requestVideoFrameCallback(frame);
      };
      video.requestVideoFrameCallback(frame);
    }
  }

  /** Whether the browser reports the time of each frame. It does not for a video of which it plays only the sound. */
  get #reportsFrames() {
    return this.hasPicture && "requestVideoFrameCallback" in HTMLVideoElement.prototype;
  }

  /** Whether the video's frames are shown, as far as known. */
  get hasPicture() {
    return !this.#clock && (this.#video.readyState === 0 || this.#video.videoWidth > 0);
  }

  /** Whether the clock has replaced the video. */
  get usesClock() {
    return this.#clock !== null;
  }

  /** The width and height in which the browser shows the video, null if it shows no picture. */
  get size() {
    const { videoWidth: width, videoHeight: height } = this.#video;
    return !this.#clock && width && height ? { width, height } : null;
  }

  /** The length of the video as the browser plays it in milliseconds, null if it is not known. */
  get playableLength() {
    const { duration } = this.#video;
    return !this.#clock && Number.isFinite(duration) && duration > 0 ? duration * 1000 - this.#shift : null;
  }

  /** The length in milliseconds: the browser's, or else that of the results. 0 if neither is known. */
  get duration() {
    return this.playableLength ?? this.#length;
  }

  /** Sets the length that the results state. */
  set length(milliseconds) {
    this.#length = milliseconds;
    this.#emit("duration");
  }

  /** Where the player is, in milliseconds. */
  get time() {
    if (!this.#clock) return this.#video.currentTime * 1000 - this.#shift;
    const { time, since } = this.#clock;
    return since === null ? time : Math.min(time + (performance.now() - since) * this.#rate, this.duration);
  }

  /** The time of the frame on the screen, in milliseconds. */
  get shown() {
    return this.#shown;
  }

  get paused() {
    return this.#clock ? this.#clock.since === null : this.#video.paused;
  }

  toggle() {
    if (this.paused) this.play();
    else this.pause();
  }

  play() {
    if (!this.#clock) {
      this.#video.play().catch((error) => {
        // A pause during the start, and a video that fails, are reported in other ways.
        if (!this.#clock && !["AbortError", "NotSupportedError"].includes(error.name)) this.#emit("refused", error);
      });
      return;
    }
    if (this.time >= this.duration) this.#clock.time = 0;
    this.#clock.since = performance.now();
    this.#emit("state");
    this.#loop();
  }

  pause() {
    if (!this.#clock) return this.#video.pause();
    this.#clock = { time: this.time, since: null };
    this.#show(this.#clock.time);
    this.#emit("state");
    this.#emit("settled");
  }

  /** Goes to a time in milliseconds. */
  seek(milliseconds) {
    const time = Math.max(0, Math.min(milliseconds, this.duration || Infinity));
    if (!this.#clock) {
      this.#asked = time;
      this.#video.currentTime = (time + this.#shift) / 1000;
      return;
    }
    this.#clock = { time, since: this.paused ? null : performance.now() };
    this.#show(time);
    if (this.paused) this.#emit("settled");
  }

  /** Sets by how many milliseconds the browser's times are later than those of the results. */
  set shift(milliseconds) {
    const { time } = this; // with the shift of before, which is 0
    this.#shift = milliseconds;
    this.#emit("duration");
    this.seek(Math.max(0, time - milliseconds));
    // The frame on the screen is not reported again.
    this.#show(Math.max(0, this.#shown - milliseconds));
  }

  get shift() {
    return this.#shift;
  }

  /** Goes to the time at which the page opens, and shows it before its frame is there, so that no other time is read. */
  begin(milliseconds) {
    this.#shown = milliseconds;
    this.seek(milliseconds);
  }

  get rate() {
    return this.#rate;
  }

  set rate(rate) {
    if (this.#clock) this.#clock = { time: this.time, since: this.paused ? null : performance.now() };
    this.#rate = rate;
    this.#video.defaultPlaybackRate = rate;
    this.#video.playbackRate = rate;
  }

  /** Lets a clock replace the video, which cannot be played. */
  useClock(why) {
    if (this.#clock) return;
    const time = this.time;
    this.#clock = { time, since: null };
    this.#emit("unplayable", why);
    this.#emit("duration");
    this.#emit("state");
    this.#show(time);
  }

  #show(time) {
    this.#shown = time;
    this.#emit("frame");
  }

  // Follows the time of the clock, or of a video whose frames are not reported.
  #loop() {
    if (this.#looping) return;
    this.#looping = true;
    const next = () => {
      if (this.paused || this.#reportsFrames) {
        this.#looping = false;
        return;
      }
      this.#show(this.time);
      if (this.#clock && this.time >= this.duration) this.pause();
      requestAnimationFrame(next);
    };
    requestAnimationFrame(next);
  }

  #emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
