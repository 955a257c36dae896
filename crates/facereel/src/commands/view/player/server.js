// Whether the server that serves this page still runs.

const EVERY = 3000; // milliseconds between two questions
const PATIENCE = 400; // milliseconds until a question that failed is repeated

/** Asks the server regularly, and calls `ended()` when it has ended and `back()` when it answers again. */
export class Server {
  ended = false;
  #ended;
  #back;
  #asking = null;

  constructor(ended, back) {
    [this.#ended, this.#back] = [ended, back];
    const regularly = () => document.visibilityState === "visible" && this.check();
    setInterval(regularly, EVERY);
    document.addEventListener("visibilitychange", regularly);
  }

  /** Asks now. Returns whether the server answers. */
  check() {
    this.#asking ??= this.#ask().finally(() => (this.#asking = null));
    return this.#asking;
  }

  async #ask() {
    const answers = (await answer()) || (await new Promise((resolve) => setTimeout(resolve, PATIENCE)).then(answer));
    if (answers === this.ended) {
      this.ended = !answers;
      (answers ? this.#back : this.#ended)();
    }
    return answers;
  }
}

// This file, without its content: the server has it in memory.
async function answer() {
  try {
    // A body that is not read would count as an aborted request, even without a byte.
    await (await fetch(import.meta.url, { method: "HEAD", cache: "no-store" })).arrayBuffer();
    return true;
  } catch {
    return false;
  }
}
