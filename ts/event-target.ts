/**
 * `createAlknetEventTarget()`: publish and subscribe over a stream. docs/events.md.
 */
import type { Duplex } from 'node:stream'
import type {
  AlknetEventTarget,
  AlknetEventTargetOptions,
  EventEnvelope,
  TypedEvent,
} from '../index.js'
import {
  invalid,
  isReserved,
  MAX_SUBSCRIPTIONS,
  readEnvelope,
  readTopics,
  topicOf,
  writeEnvelope,
} from './envelope.js'
import { AlknetError, invalidValue } from './errors.js'
import {
  checkTopic,
  envelopeOf,
  refuseEnvelope,
  type Settings,
  settingsOf,
} from './event-options.js'
import { whenClosed } from './frame.js'
import { checkLength, FrameDecoder, HEADER } from './frame-codec.js'
import { FrameWriter, streamClosed } from './frame-writer.js'
import { type ListenerCallback, type ListenerOptions, Listeners } from './listeners.js'
import { Confirmations, PeerSubscriptions } from './subscriptions.js'

/** Puts typed publish/subscribe on a stream. */
export function createAlknetEventTarget<TEvent extends TypedEvent = TypedEvent>(
  options: AlknetEventTargetOptions,
): AlknetEventTarget<TEvent> {
  return new StreamEventTarget(settingsOf(options))
}

/** Frames in a row that may be bad before the peer is given up. */
const MAX_BAD_FRAMES = 16
/** Bytes of control messages that may wait: far more than all subscriptions there can be. */
const MAX_CONTROL = 4 * 1024 * 1024
const SUBSCRIBE = '__subscribe'
const UNSUBSCRIBE = '__unsubscribe'
const SUBSCRIBED = '__subscribed'

type Failure = NodeJS.ErrnoException
type Handler<T> = ((event: CustomEvent<T>) => void) | null

class StreamEventTarget extends EventTarget {
  onerror: Handler<Failure> = null
  onclose: Handler<Failure | null> = null
  readonly closed: Promise<Failure | undefined>

  readonly #settings: Settings
  readonly #stream: Duplex
  readonly #writer: FrameWriter
  readonly #decoder: FrameDecoder
  readonly #listeners: Listeners
  readonly #peer = new PeerSubscriptions()
  readonly #confirmations = new Confirmations()
  #open = true
  #badFrames = 0
  #reason: Failure | undefined

  constructor(settings: Settings) {
    super()
    const { stream, maxFrame } = settings
    this.#settings = settings
    this.#stream = stream
    this.#writer = new FrameWriter(stream)
    this.#decoder = new FrameDecoder(maxFrame)
    this.#listeners = new Listeners(this, {
      adding: (topic) => this.#subscribe(topic),
      removed: (topic) => this.#unsubscribe(topic),
    })
    this.closed = whenClosed(stream).then(() => this.#onClose())
    stream.on('error', (error: Failure) => this.#fail(error))
    stream.on('end', () => this.#onEnd())
    stream.on('data', (chunk: Buffer) => this.#onData(chunk))
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

  override dispatchEvent(event: { readonly type: string; readonly detail?: unknown }): boolean {
    const { type, detail } = event
    checkTopic(type)
    const envelope = this.#settings.detail === 'envelope' ? envelopeOf(type, detail) : undefined
    if (envelope === undefined) refuseEnvelope(type, detail)
    if (!this.#open || !this.#stream.writable) return false
    const topic = envelope === undefined ? type : topicOf(envelope.type, envelope.id)
    if (!this.#peer.wants(topic)) return true
    const text =
      envelope === undefined
        ? writeEnvelope(type, '', detail)
        : writeEnvelope(envelope.type, envelope.id, envelope.payload)
    const size = Buffer.byteLength(text)
    checkLength(size, this.#settings.maxFrame)
    if (!this.#makeRoom(size)) return false
    this.#writer.push(text, size)
    return true
  }

  async ready(topic: string): Promise<boolean> {
    return this.#open && this.#confirmations.ready(topic)
  }

  async drained(): Promise<void> {
    if (this.#stream.destroyed) throw this.#reason ?? streamClosed()
    await this.#writer.drained()
  }

  async close(): Promise<void> {
    this.#shut()
    this.#writer.end()
    this.#stream.resume()
    await this.closed
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #shut(): void {
    this.#open = false
    this.#listeners.clear()
    this.#confirmations.close()
  }

  #subscribe(topic: string): void {
    checkTopic(topic)
    if (this.#listeners.size >= MAX_SUBSCRIPTIONS) {
      throw invalidValue('the topic', `one of at most ${MAX_SUBSCRIPTIONS} with listeners`)
    }
    if (!this.#open) return
    this.#confirmations.subscribed(topic)
    this.#control(SUBSCRIBE, '', { topic })
  }

  #unsubscribe(topic: string): void {
    if (!this.#open) return
    this.#confirmations.unsubscribed(topic)
    this.#control(UNSUBSCRIBE, '', { topic })
  }

  #control(type: string, id: string, payload: unknown): void {
    this.#writer.pushControl(writeEnvelope(type, id, payload))
    // Only a peer that asks and does not read, or a stream that has stopped, lets these pile up.
    if (this.#writer.controlAmount > MAX_CONTROL) this.#fail(full())
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

  #onData(chunk: Buffer): void {
    const decoder = this.#decoder
    decoder.push(chunk)
    while (this.#open) {
      let body: Buffer | undefined
      try {
        body = decoder.next()
      } catch (error) {
        this.#fail(error as Failure)
        return
      }
      if (body === undefined) return
      this.#onFrame(body)
    }
  }

  #onFrame(body: Buffer): void {
    try {
      const envelope = readEnvelope(body)
      if (isReserved(envelope.type)) this.#onControl(envelope)
      else this.#deliver(envelope)
      this.#badFrames = 0
    } catch (error) {
      this.#badFrames += 1
      if (this.#badFrames >= MAX_BAD_FRAMES) this.#fail(error as Failure)
      else this.#report(error as Failure)
    }
  }

  #deliver(envelope: EventEnvelope): void {
    const topic = topicOf(envelope.type, envelope.id)
    if (!this.#listeners.has(topic)) return
    const detail = this.#settings.detail === 'envelope' ? envelope : envelope.payload
    // The platform keeps what a listener throws from the others and from us.
    super.dispatchEvent(new CustomEvent(topic, { detail }))
  }

  #onControl(envelope: EventEnvelope): void {
    const { type } = envelope
    if (type !== SUBSCRIBE && type !== UNSUBSCRIBE && type !== SUBSCRIBED) return // of a later version
    const topics = readTopics(envelope)
    if (topics.length === 0) throw invalid(`${type} without a topic`)
    if (type === SUBSCRIBE) this.#onSubscribe(envelope, topics)
    else if (type === UNSUBSCRIBE) for (const topic of topics) this.#peer.remove(topic)
    else for (const topic of topics) this.#confirmations.confirmed(topic)
  }

  #onSubscribe({ id, payload }: EventEnvelope, topics: readonly string[]): void {
    let refusal: string | undefined
    const accepted = topics.filter((topic) => {
      const why = this.#peer.add(topic)
      refusal ??= why
      return why === undefined
    })
    if (refusal === undefined) this.#control(SUBSCRIBED, id, payload)
    else if (accepted.length > 0) this.#control(SUBSCRIBED, '', { topics: accepted })
    if (refusal !== undefined) throw invalid(refusal)
  }

  #onEnd(): void {
    try {
      if (this.#open) this.#decoder.end()
    } catch (error) {
      this.#reason ??= error as Failure
      this.#report(error as Failure)
    }
    void this.close()
  }

  #onClose(): Failure | undefined {
    this.#shut()
    this.#writer.stop(this.#reason ?? streamClosed())
    this.#call(this.onclose, 'close', this.#reason ?? null)
    return this.#reason
  }

  /** The stream is of no more use. */
  #fail(reason: Failure): void {
    if (this.#reason === undefined) {
      this.#reason = reason
      this.#report(reason)
    }
    this.#shut()
    this.#stream.destroy(reason)
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

function full(): AlknetError {
  const message = 'too many bytes wait to be sent; the other end does not keep up'
  return new AlknetError('ENOBUFS', message, { phase: 'stream', hint: 'await drained()' })
}
