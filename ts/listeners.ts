/**
 * Who listens to what on this end. The platform's `EventTarget` calls the listeners; this knows when a topic gets its first and loses its last.
 */
import type { TypedEventListenerOptions } from '../index.js'

export type ListenerCallback = Listener | { handleEvent(event: Event): void }
type Listener = (event: Event) => void
export type ListenerOptions = TypedEventListenerOptions | boolean | undefined

/** What the platform calls in the place of a user's listener. */
interface Registration {
  call: Listener
  /** Stops listening to the user's signal. */
  release?: () => void
}

type Registrations = Map<ListenerCallback, Registration>

/** A topic's registrations, by phase: as on the platform, a listener may be there once for each. */
interface Topic {
  bubbling?: Registrations
  capturing?: Registrations
}

export interface ListenerObserver {
  /** The topic's first listener is about to be added; throws to refuse it. */
  adding(topic: string): void
  /** The topic's last listener has been removed. */
  removed(topic: string): void
}

export class Listeners {
  readonly #target: EventTarget
  readonly #observer: ListenerObserver
  readonly #topics = new Map<string, Topic>()

  constructor(target: EventTarget, observer: ListenerObserver) {
    this.#target = target
    this.#observer = observer
  }

  /** How many topics have a listener. */
  get size(): number {
    return this.#topics.size
  }

  /** Those that have one. */
  topics(): Iterable<string> {
    return this.#topics.keys()
  }

  has(topic: string): boolean {
    return this.#topics.has(topic)
  }

  add(topic: string, callback: ListenerCallback | null, options: ListenerOptions): void {
    const { capture, once, passive, signal } = optionsOf(options)
    if (callback === null || callback === undefined || signal?.aborted) return
    if (this.#phase(topic, capture)?.has(callback)) return
    if (!this.#topics.has(topic)) {
      this.#observer.adding(topic)
      this.#topics.set(topic, {})
    }
    const registration = this.#register(topic, callback, capture, once)
    this.#note(topic, capture, callback, registration)
    add.call(this.#target, topic, registration.call, { capture, once, passive })
    if (signal === undefined) return
    const abort = () => this.remove(topic, callback, capture)
    signal.addEventListener('abort', abort, { once: true })
    registration.release = () => signal.removeEventListener('abort', abort)
  }

  remove(topic: string, callback: ListenerCallback | null, options: ListenerOptions): void {
    if (callback === null || callback === undefined) return
    const { capture } = optionsOf(options)
    const registration = this.#phase(topic, capture)?.get(callback)
    if (registration === undefined) return
    remove.call(this.#target, topic, registration.call, { capture })
    this.#forget(topic, callback, capture)
  }

  /** Removes every listener, without telling the observer. */
  clear(): void {
    for (const [topic, phases] of this.#topics) {
      for (const capture of [false, true]) {
        for (const { call, release } of phases[phaseOf(capture)]?.values() ?? []) {
          remove.call(this.#target, topic, call, { capture })
          release?.()
        }
      }
    }
    this.#topics.clear()
  }

  #register(
    topic: string,
    callback: ListenerCallback,
    capture: boolean,
    once: boolean,
  ): Registration {
    const forget = () => {
      this.#forget(topic, callback, capture)
    }
    function call(this: unknown, event: Event): unknown {
      // The platform has removed it already; a callback that adds itself again must find no trace of it.
      if (once) forget()
      if (typeof callback === 'function') return Reflect.apply(callback, this, [event])
      return callback.handleEvent(event)
    }
    return { call }
  }

  #phase(topic: string, capture: boolean): Registrations | undefined {
    return this.#topics.get(topic)?.[phaseOf(capture)]
  }

  #note(
    topic: string,
    capture: boolean,
    callback: ListenerCallback,
    registration: Registration,
  ): void {
    const phases = this.#topics.get(topic)
    if (phases === undefined) return
    phases[phaseOf(capture)] ??= new Map()
    phases[phaseOf(capture)]?.set(callback, registration)
  }

  #forget(topic: string, callback: ListenerCallback, capture: boolean): void {
    const phases = this.#topics.get(topic)
    const registrations = this.#phase(topic, capture)
    registrations?.get(callback)?.release?.()
    registrations?.delete(callback)
    if (phases === undefined || phases.bubbling?.size || phases.capturing?.size) return
    this.#topics.delete(topic)
    this.#observer.removed(topic)
  }
}

const phaseOf = (capture: boolean) => (capture ? 'capturing' : 'bubbling')

// The target overrides these two.
const add = EventTarget.prototype.addEventListener
const remove = EventTarget.prototype.removeEventListener

function optionsOf(options: ListenerOptions) {
  const given: TypedEventListenerOptions =
    typeof options === 'object' && options !== null ? options : { capture: Boolean(options) }
  return {
    capture: Boolean(given.capture),
    once: Boolean(given.once),
    passive: Boolean(given.passive),
    signal: given.signal,
  }
}
