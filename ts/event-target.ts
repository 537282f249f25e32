/**
 * `createAlknetEventTarget()`: publish and subscribe over a stream, or over the streams of a session. docs/events.md.
 */
import type {
  AlknetEventTarget,
  AlknetEventTargetOptions,
  AlknetSubscribeOptions,
  EventEnvelope,
  TypedEvent,
} from '../index.js'
import { MAX_SUBSCRIPTIONS, topicOf, writeEnvelope } from './envelope.js'
import { AlknetError, invalidValue } from './errors.js'
import { EventIterator } from './event-iterator.js'
import { EventLink, type Failure, full } from './event-link.js'
import {
  checkTopic,
  envelopeOf,
  refuseEnvelope,
  type Settings,
  settingsOf,
} from './event-options.js'
import { keepStreams } from './event-session.js'
import { checkLength, HEADER } from './frame-codec.js'
import { FrameWriter, streamClosed } from './frame-writer.js'
import { type ListenerCallback, type ListenerOptions, Listeners } from './listeners.js'
import { abortSignal, integer } from './options.js'
import { Positions } from './positions.js'
import { Confirmations } from './subscriptions.js'

/** Puts typed publish/subscribe on a stream or a session. */
export function createAlknetEventTarget<TEvent extends TypedEvent = TypedEvent>(
  options: AlknetEventTargetOptions,
): AlknetEventTarget<TEvent> {
  return new StreamEventTarget(settingsOf(options))
}

/** Events that wait for an iterator: as many as graphql-yoga keeps. */
const ITERATOR_LIMIT = 1024

type Handler<T> = ((event: CustomEvent<T>) => void) | null
interface AnyEvent {
  readonly type: string
  readonly detail?: unknown
}

/** An event that is ready to leave. */
interface Outgoing {
  topic: string
  text: string
  size: number
}

class StreamEventTarget extends EventTarget {
  onerror: Handler<Failure> = null
  onclose: Handler<Failure | null> = null
  readonly closed: Promise<Failure | undefined>

  readonly #settings: Settings
  readonly #writer = new FrameWriter()
  readonly #listeners: Listeners
  readonly #confirmations = new Confirmations()
  readonly #positions = new Positions()
  /** On a session: ends the search for streams. */
  #ending: AbortController | undefined
  #link: EventLink | undefined
  #open = true
  #over = false
  #reason: Failure | undefined
  #publishing: Promise<unknown> = Promise.resolve()

  constructor(settings: Settings) {
    super()
    this.#settings = settings
    this.#listeners = new Listeners(this, {
      adding: (topic) => this.#subscribe(topic),
      removed: (topic) => this.#unsubscribe(topic),
    })
    const { stream, session, target } = settings
    let ended: Promise<Failure | undefined>
    if (stream === undefined && session !== undefined) {
      this.#ending = new AbortController()
      ended = keepStreams(session, target, this.#streamUser(), this.#ending.signal)
    } else ended = this.#use(stream as NonNullable<typeof stream>)
    this.closed = ended.then((reason) => this.#onClose(reason))
  }

  get bufferedAmount(): number {
    return this.#writer.bufferedAmount
  }

  override addEventListener(
    topic: string,
    callback: ListenerCallback | null,
    options?: ListenerOptions,
  ): void {
    this.#listeners.add(`${topic}`, callback, options)
  }

  override removeEventListener(
    topic: string,
    callback: ListenerCallback | null,
    options?: ListenerOptions,
  ): void {
    this.#listeners.remove(`${topic}`, callback, options)
  }

  override dispatchEvent(event: AnyEvent): boolean {
    const outgoing = this.#prepare(event)
    if (outgoing === undefined) return false
    const { topic, text, size } = outgoing
    if (text === '') return this.#link === undefined || !this.#link.wants(topic)
    if (!this.#makeRoom(size)) return false
    this.#writer.push(text, size)
    return true
  }

  publish(event: AnyEvent): Promise<void> {
    let outgoing: Outgoing | undefined
    try {
      outgoing = this.#prepare(event)
    } catch (error) {
      return Promise.reject(error)
    }
    if (outgoing === undefined) return Promise.reject(streamClosed())
    const { text, size } = outgoing
    if (text === '') return Promise.resolve()
    // One after the other, so that those that wait for room keep their order.
    const done = this.#publishing.then(() => this.#publish(text, size))
    this.#publishing = done.catch(() => {})
    return done
  }

  subscribe<T>(
    topic: string,
    options: AlknetSubscribeOptions = {},
  ): AsyncIterableIterator<T, undefined> {
    const limit = integer('options.limit', options.limit, 1, 0x7fff_ffff) ?? ITERATOR_LIMIT
    const signal = abortSignal(options.signal)
    const { closed } = this
    this.#since(topic, options.since)
    const listen = (push: (event: T) => void) => {
      const listener = (event: unknown) => push(event as T)
      this.addEventListener(topic, listener)
      return () => this.removeEventListener(topic, listener)
    }
    return new EventIterator({ listen, closed }, limit, signal)
  }

  #since(topic: string, number: number | undefined): void {
    const since = integer('options.since', number, 0, Number.MAX_SAFE_INTEGER)
    if (since === undefined) return
    const why =
      'left out for a topic that has listeners already: they would hear what is sent again'
    if (this.#listeners.has(topic)) throw invalidValue('options.since', why)
    this.#positions.begin(topic, since)
  }

  async ready(topic: string): Promise<boolean> {
    return this.#open && this.#confirmations.ready(topic)
  }

  async drained(): Promise<void> {
    const lost = this.#settings.session === undefined && this.#link?.destroyed
    if (this.#over || lost) throw this.#reason ?? this.#link?.reason ?? streamClosed()
    await this.#writer.drained()
  }

  async close(): Promise<void> {
    this.#shut()
    this.#writer.end()
    this.#link?.leave()
    await this.closed
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #shut(): void {
    this.#open = false
    this.#ending?.abort()
    this.#listeners.clear()
    this.#confirmations.close()
  }

  /** Uses a stream until it is closed. */
  async #use(stream: NonNullable<Settings['stream']>): Promise<Failure | undefined> {
    const link = new EventLink(stream, this.#writer, this.#settings.maxFrame, {
      event: (envelope) => this.#deliver(envelope),
      subscribed: (topic, seq) => this.#onSubscribed(topic, seq),
      refused: (topic) => this.#confirmations.refused(topic),
      report: (error) => this.#report(error),
      ended: () => this.#onEnded(link),
    })
    this.#link = link
    for (const topic of this.#listeners.topics()) {
      this.#confirmations.subscribed(topic)
      link.subscribe(topic, this.#settings.echo, this.#positions.ask(topic))
    }
    return link.closed
  }

  #streamUser() {
    return {
      use: async (stream: NonNullable<Settings['stream']>) => {
        if (!this.#open) stream.destroy()
        await this.#use(stream)
        this.#link = undefined
        this.#writer.detach()
        this.#confirmations.forget()
        this.#positions.detach()
      },
      away: (reason: Failure) => this.#report(reason),
    }
  }

  /** The other end has ended: a target on a stream is over, one on a session gets another stream. */
  #onEnded(link: EventLink): void {
    if (this.#settings.session === undefined) void this.close()
    else link.end()
  }

  #subscribe(topic: string): void {
    checkTopic(topic)
    if (this.#listeners.size >= MAX_SUBSCRIPTIONS) {
      throw invalidValue('the topic', `one of at most ${MAX_SUBSCRIPTIONS} with listeners`)
    }
    if (!this.#open || this.#link === undefined) return
    this.#confirmations.subscribed(topic)
    this.#link.subscribe(topic, this.#settings.echo, this.#positions.ask(topic))
  }

  #onSubscribed(topic: string, seq: number | undefined): void {
    const trouble = this.#listeners.has(topic) ? this.#positions.answered(topic, seq) : undefined
    if (trouble !== undefined) this.#report(trouble)
    this.#confirmations.confirmed(topic)
  }

  #unsubscribe(topic: string): void {
    this.#positions.forget(topic)
    if (!this.#open || this.#link === undefined) return
    this.#confirmations.unsubscribed(topic)
    this.#link.unsubscribe(topic)
  }

  /** The frame of an event; without text when nobody wants it, nothing when it can be sent no more. */
  #prepare({ type, detail }: AnyEvent): Outgoing | undefined {
    checkTopic(type)
    const { detail: kind, session, offline, maxFrame } = this.#settings
    const envelope = kind === 'envelope' ? envelopeOf(type, detail) : undefined
    if (envelope === undefined) refuseEnvelope(type, detail)
    const link = this.#link
    if (!this.#open || (session === undefined && !link?.writable)) return undefined
    if (link === undefined && offline === 'refuse') throw away()
    const topic = envelope === undefined ? type : topicOf(envelope.type, envelope.id)
    if (link !== undefined && !link.wants(topic)) return { topic, text: '', size: 0 }
    const text =
      envelope === undefined
        ? writeEnvelope(type, '', detail)
        : writeEnvelope(envelope.type, envelope.id, envelope.payload)
    const size = Buffer.byteLength(text)
    checkLength(size, maxFrame)
    return { topic, text, size }
  }

  async #publish(text: string, size: number): Promise<void> {
    if (!this.#fits(size)) await this.#writer.drained()
    if (!this.#open) throw streamClosed()
    this.#writer.push(text, size)
    if (this.#writer.full) await this.#writer.drained()
  }

  /** Makes room for a frame, or does what was asked for when there is none. */
  #makeRoom(size: number): boolean {
    if (this.#fits(size)) return true
    const { onOverflow } = this.#settings
    if (onOverflow === 'error') throw full()
    if (onOverflow === 'disconnect') this.#fail(full())
    if (onOverflow !== 'drop-oldest') return false
    while (this.#writer.dropOldest()) if (this.#fits(size)) return true
    return false
  }

  #fits(size: number): boolean {
    const waiting = this.#writer.bufferedAmount
    return waiting === 0 || waiting + HEADER + size <= this.#settings.maxBuffered
  }

  #deliver(envelope: EventEnvelope): void {
    const topic = topicOf(envelope.type, envelope.id)
    if (!this.#open || !this.#listeners.has(topic)) return
    const detail = this.#settings.detail === 'envelope' ? envelope : envelope.payload
    const event = new CustomEvent(topic, { detail })
    const { from, seq } = envelope
    if (from !== undefined) Object.assign(event, { from })
    if (seq !== undefined) {
      Object.assign(event, { seq })
      this.#positions.heard(topic, seq)
    }
    // The platform keeps what a listener throws from the others and from us.
    super.dispatchEvent(event)
  }

  #fail(reason: Failure): void {
    if (this.#link === undefined) this.#report(reason)
    else this.#link.fail(reason)
    if (this.#settings.session === undefined) this.#shut()
  }

  #onClose(reason: Failure | undefined): Failure | undefined {
    this.#over = true
    this.#reason = reason
    this.#shut()
    this.#writer.stop(reason ?? streamClosed())
    this.#call(this.onclose, 'close', reason ?? null)
    return reason
  }

  #report(error: Failure): void {
    this.#call(this.onerror, 'error', error)
  }

  /** Calls a handler as the platform would: what it throws is nobody's here. */
  #call<T>(handler: Handler<T>, type: string, detail: T): void {
    if (typeof handler !== 'function') return
    try {
      Reflect.apply(handler, this, [new CustomEvent(type, { detail })])
    } catch (error) {
      process.nextTick(() => {
        throw error
      })
    }
  }
}

function away(): AlknetError {
  const message = 'there is no session at the moment, and events are not to wait for one'
  return new AlknetError('ERR_ALKNET_RECONNECTING', message, { phase: 'stream' })
}
