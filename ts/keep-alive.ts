/**
 * Keeps the process alive while something is open. The doorbell holds nothing open, so each open stream, session, server
 * and pending operation counts here, and one timer exists while the count is not 0.
 */

// The longest a timer can be. It never has anything to do.
const LONGEST = 0x7fff_ffff

let count = 0
let timer: NodeJS.Timeout | undefined

/** One object's part in keeping the process alive, held from the start: `ref()` and `unref()` as in `net.Socket`. */
export class KeepAlive {
  #held = false
  #ended = false

  constructor() {
    this.ref()
  }

  ref(): void {
    if (this.#held || this.#ended) return
    this.#held = true
    if (count++ === 0) timer = setInterval(() => {}, LONGEST)
  }

  unref(): void {
    if (!this.#held) return
    this.#held = false
    if (--count === 0) clearInterval(timer)
  }

  /** The object is over: lets go, and `ref()` has no effect any more. */
  end(): void {
    this.unref()
    this.#ended = true
  }
}
