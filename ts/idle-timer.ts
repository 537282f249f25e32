/**
 * `setTimeout()` of a stream: fires when nothing moved for a while, and again after the next silence.
 */
import { invalidType, invalidValue } from './errors.js'

const LONGEST = 0x7fff_ffff

/** A timer that `touch()` starts anew. It holds what `expired` refers to, but not the process. */
export class IdleTimer {
  #timer: NodeJS.Timeout | undefined
  #ms: number | undefined

  /** The time set, 0 if it was turned off; undefined if it never was set. */
  get ms(): number | undefined {
    return this.#ms
  }

  set(ms: number, expired: () => void): void {
    if (typeof ms !== 'number') throw invalidType('msecs', 'a number', ms)
    if (!(ms >= 0 && ms < Number.POSITIVE_INFINITY))
      throw invalidValue('msecs', 'finite, not negative')
    this.stop()
    this.#ms = Math.min(Math.trunc(ms), LONGEST)
    if (this.#ms > 0) this.#timer = setTimeout(expired, this.#ms).unref()
  }

  touch(): void {
    this.#timer?.refresh()
  }

  stop(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
  }
}
