/**
 * One stream of an event target: what comes on it, and what its other end wants. A target on a session has one after the other.
 */
import type { Duplex } from 'node:stream'
import type { EventEnvelope } from '../index.js'
import { invalid, isReserved, readEnvelope, readTopics, writeEnvelope } from './envelope.js'
import { AlknetError } from './errors.js'
import { whenClosed } from './frame.js'
import { FrameDecoder } from './frame-codec.js'
import { CLOSE_LIMIT, type FrameWriter } from './frame-writer.js'
import { senderOf } from './senders.js'
import { PeerSubscriptions } from './subscriptions.js'

/** Frames in a row that may be bad before the peer is given up. */
const MAX_BAD_FRAMES = 16
/** Bytes of control messages that may wait: far more than all subscriptions there can be. */
const MAX_CONTROL = 4 * 1024 * 1024
const SUBSCRIBE = '__subscribe'
const UNSUBSCRIBE = '__unsubscribe'
const SUBSCRIBED = '__subscribed'
const REFUSED = '__refused'
const CLOSED = '__closed'

export type Failure = NodeJS.ErrnoException

/** Whoever holds a link. */
export interface LinkOwner {
  event(envelope: EventEnvelope): void
  /** With the number after which it begins, if its events are kept. */
  subscribed(topic: string, seq: number | undefined): void
  refused(topic: string): void
  /** Something is wrong; the link may go on. */
  report(error: Failure): void
  /** The other end has ended its side, and ours is to follow. */
  ended(): void
}

export class EventLink {
  /** Resolves when the stream is closed, with what ended it. */
  readonly closed: Promise<Failure | undefined>
  readonly #stream: Duplex
  readonly #writer: FrameWriter
  readonly #decoder: FrameDecoder
  readonly #owner: LinkOwner
  readonly #peer = new PeerSubscriptions()
  /** From whom all that comes is, whatever it says. */
  readonly #sender: string | undefined
  #open = true
  #badFrames = 0
  #reason: Failure | undefined

  constructor(stream: Duplex, writer: FrameWriter, maxFrame: number, owner: LinkOwner) {
    this.#stream = stream
    this.#writer = writer
    this.#decoder = new FrameDecoder(maxFrame)
    this.#owner = owner
    this.#sender = senderOf(stream)
    this.closed = whenClosed(stream).then(() => {
      this.#open = false
      return this.#reason
    })
    stream.on('error', (error: Failure) => this.fail(error))
    stream.on('end', () => this.#onEnd())
    writer.attach(stream)
    stream.on('data', (chunk: Buffer) => this.#onData(chunk))
  }

  get writable(): boolean {
    return this.#open && this.#stream.writable
  }

  /** What ended it, if that was a failure. */
  get reason(): Failure | undefined {
    return this.#reason
  }

  get destroyed(): boolean {
    return this.#stream.destroyed
  }

  wants(topic: string): boolean {
    return this.#peer.wants(topic)
  }

  subscribe(topic: string, echo: boolean, since: number | undefined): void {
    const asked = echo ? { topic } : { topic, echo }
    this.#control(SUBSCRIBE, '', since === undefined ? asked : { ...asked, since })
  }

  unsubscribe(topic: string): void {
    this.#control(UNSUBSCRIBE, '', { topic })
  }

  /** Heeds no more of what comes, and lets it pass, so that the end can come. */
  leave(): void {
    this.#open = false
    this.#stream.resume()
  }

  /** The same, and ends our side, of which the writer is not asked: what waits is for another stream. */
  end(): void {
    this.leave()
    const limit = setTimeout(() => this.#stream.destroy(), CLOSE_LIMIT)
    this.#stream.once('close', () => clearTimeout(limit))
    this.#stream.end()
  }

  /** The stream is of no more use. */
  fail(reason: Failure): void {
    if (this.#reason === undefined) {
      this.#reason = reason
      this.#owner.report(reason)
    }
    this.#open = false
    this.#stream.destroy(reason)
  }

  #control(type: string, id: string, payload: unknown): void {
    this.#writer.pushControl(writeEnvelope(type, id, payload))
    // Only a peer that asks and does not read, or a stream that has stopped, lets these pile up.
    if (this.#writer.controlAmount > MAX_CONTROL) this.fail(full())
  }

  #onData(chunk: Buffer): void {
    const decoder = this.#decoder
    decoder.push(chunk)
    while (this.#open) {
      let body: Buffer | undefined
      try {
        body = decoder.next()
      } catch (error) {
        this.fail(error as Failure)
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
      else {
        if (this.#sender !== undefined) envelope.from = this.#sender
        this.#owner.event(envelope)
      }
      this.#badFrames = 0
    } catch (error) {
      this.#badFrames += 1
      if (this.#badFrames >= MAX_BAD_FRAMES) this.fail(error as Failure)
      else this.#owner.report(error as Failure)
    }
  }

  #onControl(envelope: EventEnvelope): void {
    const { type, payload } = envelope
    if (type === REFUSED) this.#onRefused(payload)
    else if (type === CLOSED) this.#onClosed(payload)
    // Others are of a later version.
    else if (type === SUBSCRIBE || type === UNSUBSCRIBE || type === SUBSCRIBED) {
      this.#onTopics(envelope)
    }
  }

  #onTopics(envelope: EventEnvelope): void {
    const { type, payload } = envelope
    const topics = readTopics(envelope)
    if (topics.length === 0) throw invalid(`${type} without a topic`)
    if (type === SUBSCRIBE) this.#onSubscribe(envelope, topics)
    else if (type === UNSUBSCRIBE) for (const topic of topics) this.#peer.remove(topic)
    else {
      const { seq } = fields(payload)
      for (const topic of topics) {
        this.#owner.subscribed(topic, Number.isSafeInteger(seq) ? (seq as number) : undefined)
      }
    }
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

  #onRefused(payload: unknown): void {
    const { action, topic, reason } = fields(payload)
    if (action === 'subscribe' && typeof topic === 'string') this.#owner.refused(topic)
    // The store of kept events has not answered in time; everything else is a no for good.
    const later = reason === 'not_kept' || reason === 'not_available'
    const message = `the bus refuses to ${action} '${topic}': ${reason}`
    this.#owner.report(new AlknetError(later ? 'EAGAIN' : 'EACCES', message, { phase: 'stream' }))
  }

  #onClosed(payload: unknown): void {
    const { reason } = fields(payload)
    if (reason !== 'slow_consumer') return
    const message = 'the bus closed the stream, as events were not taken fast enough: some are lost'
    this.fail(new AlknetError('ERR_ALKNET_SLOW_CONSUMER', message, { phase: 'stream' }))
  }

  #onEnd(): void {
    try {
      if (this.#open) this.#decoder.end()
    } catch (error) {
      this.#reason ??= error as Failure
      this.#owner.report(error as Failure)
    }
    this.#owner.ended()
  }
}

function fields(payload: unknown): Record<string, unknown> {
  return typeof payload === 'object' && payload !== null ? { ...payload } : {}
}

/** Why an event is not taken. */
export function full(): AlknetError {
  const message = 'too many bytes wait to be sent; the other end does not keep up'
  return new AlknetError('ENOBUFS', message, { phase: 'stream', hint: 'await drained()' })
}
