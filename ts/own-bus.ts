/**
 * `createAlknetBus()`: a bus without a server, for streams that either end dialled.
 */
import type { Duplex } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type * as contract from '../index.js'
import type { NativeBus } from '../native/binding.js'
import { ServerBus } from './bus.js'
import { busOptions } from './bus-options.js'
import { CLOSED, doorbell, Slot, WRITABLE } from './doorbell.js'
import { AlknetError } from './errors.js'
import { keepStreams } from './event-session.js'
import { checkDuplex } from './frame.js'
import { native } from './native.js'
import { object, text } from './options.js'
import { settle } from './pending.js'
import { senderOf } from './senders.js'
import { AlknetStream } from './stream.js'

/** Makes a bus. Bad arguments reject like those of `connect()`. */
export async function createAlknetBus(
  options: contract.AlknetBusOptions = {},
): Promise<contract.AlknetBus> {
  const checked = busOptions(object('options', options)) ?? {}
  return settle(
    () => native().createBus(doorbell(), checked),
    (bus) => new AlknetBus(bus, options),
    undefined,
  )
}

class AlknetBus implements contract.AlknetBus {
  readonly #native: NativeBus
  readonly #own: ServerBus
  readonly #slot: Slot
  /** Ends the search for streams on sessions. */
  readonly #closing = new AbortController()

  constructor(bus: NativeBus, options: contract.AlknetBusOptions) {
    this.#native = bus
    this.#own = new ServerBus(bus, options)
    this.#slot = new Slot(bus.id, (mask) => this.#onBell(mask))
    // Its members keep the process alive, or nothing does.
    this.#slot.keepAlive.unref()
  }

  get target(): contract.AlknetEventTarget {
    const { target } = this.#own
    if (target === undefined) throw closed()
    return target
  }

  async join(
    member: Duplex | contract.AlknetSession,
    options: contract.AlknetJoinOptions = {},
  ): Promise<void> {
    const from = text('options.from', options.from)
    const target = text('options.target', options.target)
    const { signal } = this.#closing
    if (signal.aborted) throw closed()
    if (!isSession(member)) {
      checkDuplex('member', member)
      return this.#use(member, from ?? senderOf(member))
    }
    const user = {
      use: (stream: Duplex) => this.#use(stream, from ?? member.hostKeyFingerprint),
      away: () => {},
    }
    const failure = await keepStreams(member, target, user, signal)
    if (failure !== undefined) throw failure
  }

  metrics(): contract.AlknetBusMetrics {
    return this.#native.busMetrics()
  }

  async close(): Promise<void> {
    if (this.#closing.signal.aborted) return
    this.#closing.abort()
    this.#own.close()
    this.#native.close()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** Carries bytes between a stream and the bus until either ends. What ended it is for whoever has the stream. */
  async #use(stream: Duplex, from: string | undefined): Promise<void> {
    const member = new AlknetStream(this.#native.member(from)).unref()
    await pipeline(stream, member, stream).catch(() => {})
  }

  #onBell(mask: number): void {
    if (mask & WRITABLE) this.#own.answerAll()
    if (mask & CLOSED) this.#slot.remove()
  }
}

function isSession(member: Duplex | contract.AlknetSession): member is contract.AlknetSession {
  return typeof (member as { open?: unknown } | null)?.open === 'function'
}

function closed(): AlknetError {
  return new AlknetError('ERR_ALKNET_CONFIG', 'the bus is closed', { phase: 'config' })
}
