/**
 * The two sides of `__subscribe`: what the peer wants of us, and what it has confirmed to us.
 */
import { isReserved, isTooLong, MAX_SUBSCRIPTIONS } from './envelope.js'

/** How long `ready()` waits for a peer that may know no acknowledgements, ms. */
const READY_LIMIT = 2000

/** What the peer wants: everything, until it has subscribed to something. */
export class PeerSubscriptions {
  #topics: Set<string> | undefined

  wants(topic: string): boolean {
    return this.#topics === undefined || this.#topics.has(topic)
  }

  /** Why the peer may not have `topic`, or nothing when it has it from now on. */
  add(topic: string): string | undefined {
    this.#topics ??= new Set()
    if (isReserved(topic)) return 'a subscription to a reserved topic'
    if (isTooLong(topic)) return 'a subscription to a topic that is too long'
    if (this.#topics.size >= MAX_SUBSCRIPTIONS && !this.#topics.has(topic)) {
      return `a subscription beyond the limit of ${MAX_SUBSCRIPTIONS}`
    }
    this.#topics.add(topic)
    return undefined
  }

  remove(topic: string): void {
    this.#topics?.delete(topic)
  }
}

/** What the peer has confirmed. Its confirmations come in the order of our subscriptions. */
export class Confirmations {
  readonly #confirmed = new Set<string>()
  readonly #sent = new Set<string>()
  /** Confirmations to come of subscriptions that were taken back: they say nothing of a later one. */
  readonly #stale = new Map<string, number>()
  readonly #waiting = new Map<string, Set<(ready: boolean) => void>>()

  subscribed(topic: string): void {
    this.#sent.add(topic)
  }

  unsubscribed(topic: string): void {
    this.#confirmed.delete(topic)
    if (!this.#sent.delete(topic)) return
    // A peer that never confirms must not fill the memory; one that does is never so far behind.
    if (this.#stale.size >= MAX_SUBSCRIPTIONS) this.#stale.clear()
    this.#stale.set(topic, (this.#stale.get(topic) ?? 0) + 1)
  }

  confirmed(topic: string): void {
    const stale = this.#stale.get(topic) ?? 0
    if (stale > 1) this.#stale.set(topic, stale - 1)
    else this.#stale.delete(topic)
    if (stale > 0 || !this.#sent.delete(topic)) return
    this.#confirmed.add(topic)
    this.#settle(topic, true)
  }

  /** Waits for a confirmation of `topic`, also of a subscription still to be made. */
  ready(topic: string): Promise<boolean> {
    if (this.#confirmed.has(topic)) return Promise.resolve(true)
    return new Promise((resolve) => {
      const waiting = this.#waiting.get(topic) ?? new Set()
      this.#waiting.set(topic, waiting)
      const settle = (ready: boolean) => {
        clearTimeout(limit)
        waiting.delete(settle)
        if (waiting.size === 0 && this.#waiting.get(topic) === waiting) this.#waiting.delete(topic)
        resolve(ready)
      }
      const limit = setTimeout(settle, READY_LIMIT, false)
      waiting.add(settle)
    })
  }

  /** Another stream takes the place of the one that all this was said on. */
  forget(): void {
    this.#confirmed.clear()
    this.#sent.clear()
    this.#stale.clear()
  }

  /** The peer will not send `topic`. */
  refused(topic: string): void {
    this.#sent.delete(topic)
    this.#settle(topic, false)
  }

  /** Nothing will be confirmed any more. */
  close(): void {
    this.#confirmed.clear()
    for (const topic of [...this.#waiting.keys()]) this.#settle(topic, false)
  }

  #settle(topic: string, ready: boolean): void {
    for (const settle of [...(this.#waiting.get(topic) ?? [])]) settle(ready)
  }
}
