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

/** How far a subscription of ours has come: it is sent, or confirmed. */
type Progress = 'sent' | 'confirmed'

/**
 * What the peer has confirmed. Its confirmations come in the order of our subscriptions. What is rarely needed is made when it is: a map
 * takes 350 bytes, and there may be very many targets.
 */
export class Confirmations {
  readonly #topics = new Map<string, Progress>()
  /** Confirmations to come of subscriptions that were taken back: they say nothing of a later one. */
  #stale: Map<string, number> | undefined
  #waiting: Map<string, Set<(ready: boolean) => void>> | undefined

  subscribed(topic: string): void {
    this.#topics.set(topic, 'sent')
  }

  unsubscribed(topic: string): void {
    const progress = this.#topics.get(topic)
    this.#topics.delete(topic)
    if (progress !== 'sent') return
    this.#stale ??= new Map()
    // A peer that never confirms must not fill the memory; one that does is never so far behind.
    if (this.#stale.size >= MAX_SUBSCRIPTIONS) this.#stale.clear()
    this.#stale.set(topic, (this.#stale.get(topic) ?? 0) + 1)
  }

  confirmed(topic: string): void {
    const stale = this.#stale?.get(topic) ?? 0
    if (stale > 1) this.#stale?.set(topic, stale - 1)
    else this.#stale?.delete(topic)
    if (stale > 0 || this.#topics.get(topic) !== 'sent') return
    this.#topics.set(topic, 'confirmed')
    this.#settle(topic, true)
  }

  /** Waits for a confirmation of `topic`, also of a subscription still to be made. */
  ready(topic: string): Promise<boolean> {
    if (this.#topics.get(topic) === 'confirmed') return Promise.resolve(true)
    return new Promise((resolve) => {
      const settle = (ready: boolean) => {
        clearTimeout(limit)
        this.#forgetWaiting(topic, settle)
        resolve(ready)
      }
      const limit = setTimeout(settle, READY_LIMIT, false)
      this.#waiting ??= new Map()
      const waiting = this.#waiting.get(topic)
      if (waiting === undefined) this.#waiting.set(topic, new Set([settle]))
      else waiting.add(settle)
    })
  }

  /** Another stream takes the place of the one that all this was said on. */
  forget(): void {
    this.#topics.clear()
    this.#stale = undefined
  }

  /** The peer will not send `topic`. */
  refused(topic: string): void {
    if (this.#topics.get(topic) === 'sent') this.#topics.delete(topic)
    this.#settle(topic, false)
  }

  /** Nothing will be confirmed any more. */
  close(): void {
    for (const [topic, progress] of this.#topics) {
      if (progress === 'confirmed') this.#topics.delete(topic)
    }
    for (const topic of [...(this.#waiting?.keys() ?? [])]) this.#settle(topic, false)
  }

  #settle(topic: string, ready: boolean): void {
    for (const settle of [...(this.#waiting?.get(topic) ?? [])]) settle(ready)
  }

  #forgetWaiting(topic: string, settle: (ready: boolean) => void): void {
    const waiting = this.#waiting?.get(topic)
    waiting?.delete(settle)
    if (waiting?.size === 0) this.#waiting?.delete(topic)
    if (this.#waiting?.size === 0) this.#waiting = undefined
  }
}
