/**
 * `serve()`: accepted streams, by listener or by iteration.
 *
 * Streams wait in the core, which bounds how many, and are taken from it only for a consumer: a `'connection'` listener or
 * a `next()` that waits.
 */
import { EventEmitter } from 'node:events'
import type * as contract from '../index.js'
import type { NativeServer } from '../native/binding.js'
import { acmeStatus } from './acme-status.js'
import { ServerBus } from './bus.js'
import { ConnectionIterator } from './connection-iterator.js'
import { CHANGED, CLOSED, doorbell, FINISHED, READABLE, Slot, WRITABLE } from './doorbell.js'
import { AlknetError, invalidType } from './errors.js'
import { native } from './native.js'
import { abortSignal, boolean, object, serveOptions } from './options.js'
import { passphrase, wiping } from './passphrase.js'
import { settle } from './pending.js'
import { relayStatus } from './relay-status.js'
import { setSender } from './senders.js'
import { AlknetStream } from './stream.js'

// So that a burst of connections leaves time for those that are open.
const ACCEPTS_PER_TURN = 32

/** Starts a server. Bad arguments reject like those of `connect()`. */
export async function serve(options: contract.AlknetServeOptions): Promise<contract.AlknetServer> {
  if (object('options', options) === undefined) throw invalidType('options', 'an object', options)
  const signal = abortSignal(options.signal)
  const allowHalfOpen = boolean('options.allowHalfOpen', options.allowHalfOpen)
  const checked = serveOptions(options)
  const { hostKeyPath: path, hostKey: contents, insecurePermissions = false } = checked
  const key = { path, contents, insecurePermissions }
  const given = options.hostKeyPassphrase
  const secret = await passphrase('options.hostKeyPassphrase', given, key, signal)
  const all = secret === undefined ? checked : { ...checked, hostKeyPassphrase: secret }
  return settle(
    () => wiping(secret === undefined ? [] : [secret], () => native().serve(doorbell(), all)),
    (server) => new AlknetServer(server, options, allowHalfOpen),
    signal,
  )
}

class AlknetServer
  extends EventEmitter<contract.AlknetServerEvents>
  implements contract.AlknetServer
{
  readonly #native: NativeServer
  readonly #bus: ServerBus
  readonly #slot: Slot
  readonly #allowHalfOpen: boolean | undefined
  readonly #signal: AbortSignal | undefined
  readonly #abort = (): void => void this.close()
  readonly #waiting: ConnectionIterator[] = []
  #pullScheduled = false

  readonly addresses: readonly string[]
  readonly endpointId: string | undefined
  readonly hostKeyFingerprint: string
  readonly hostKey: string
  readonly connectionString: string
  readonly metricsAddress: string | undefined

  constructor(
    server: NativeServer,
    { bus, signal }: contract.AlknetServeOptions,
    allowHalfOpen: boolean | undefined,
  ) {
    super()
    this.#native = server
    this.#bus = new ServerBus(server, bus)
    this.#allowHalfOpen = allowHalfOpen
    this.#signal = signal
    this.metricsAddress = server.metricsAddress() ?? undefined
    this.addresses = server.addresses()
    this.endpointId = server.endpointId() ?? undefined
    this.hostKeyFingerprint = server.hostKeyFingerprint()
    this.hostKey = server.hostKey()
    this.connectionString = server.connectionString()
    this.#slot = new Slot(server.id, (mask) => this.#onBell(mask))
    signal?.addEventListener('abort', this.#abort, { once: true })
    this.#watchListeners()
  }

  onConnection(
    listener: (stream: contract.AlknetStream, info: contract.ConnectionInfo) => void,
  ): this {
    return this.on('connection', listener)
  }

  override removeAllListeners(event?: keyof contract.AlknetServerEvents): this {
    super.removeAllListeners(event)
    if (event === undefined) this.#watchListeners()
    return this
  }

  [Symbol.asyncIterator](): AsyncIterableIterator<contract.AlknetConnection> {
    return new ConnectionIterator(this.#waiting, {
      closed: () => this.#slot.removed,
      wanted: () => this.#schedulePull(),
    })
  }

  get listening(): boolean {
    return !this.#slot.removed && !this.#slot.closing
  }

  get bus(): contract.AlknetEventTarget | undefined {
    return this.#bus.target
  }

  get acme(): contract.AlknetAcmeStatus | undefined {
    return acmeStatus(this.#native.acme())
  }

  get relay(): contract.AlknetRelayStatus | undefined {
    return relayStatus(this.#native.relay())
  }

  metrics(): contract.AlknetServerMetrics {
    const bus = this.#bus.metrics()
    return bus === undefined ? {} : { bus }
  }

  get warnings(): readonly string[] {
    return this.#native.warnings()
  }

  async reload(): Promise<void> {
    if (!this.listening) {
      const details = { phase: 'config' } as const
      throw new AlknetError('ERR_ALKNET_CONFIG', 'the server is closed', details)
    }
    await settle(
      () => this.#native.reload(doorbell()),
      () => undefined,
      undefined,
    )
  }

  close(): Promise<void> {
    return this.#slot.close(() => {
      this.#bus.close()
      this.#native.close()
    })
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  ref(): this {
    this.#slot.keepAlive.ref()
    return this
  }

  unref(): this {
    this.#slot.keepAlive.unref()
    return this
  }

  #watchListeners(): void {
    // It comes before the listener is there, so the pull must be later.
    EventEmitter.prototype.on.call(this, 'newListener', (event: unknown) => {
      if (event === 'connection') this.#schedulePull()
    })
  }

  #onBell(mask: number): void {
    try {
      if (mask & READABLE) this.#pull()
      if (mask & WRITABLE) this.#bus.answerAll()
      if (mask & FINISHED && this.acme) this.emit('acme', this.acme)
      if (mask & CHANGED && this.relay) this.emit('relay', this.relay)
    } finally {
      if (mask & CLOSED) this.#onClosed()
    }
  }

  #schedulePull(): void {
    if (this.#pullScheduled || this.#slot.removed) return
    this.#pullScheduled = true
    process.nextTick(() => {
      this.#pullScheduled = false
      this.#slot.run(() => this.#pull())
    })
  }

  #pull(): void {
    let drained = false
    try {
      drained = this.#acceptSome()
    } finally {
      // The bell rings only after `accept()` had nothing; a listener that throws must not stop the others' streams.
      if (!drained) setImmediate(() => this.#pull())
    }
  }

  /** True when there is nothing more to take, or nobody to take it. */
  #acceptSome(): boolean {
    for (let accepts = 0; accepts < ACCEPTS_PER_TURN; accepts++) {
      if (this.#slot.removed || !this.#wanted()) return true
      const accepted = this.#native.accept()
      if (accepted === null) return true
      this.#deliver(new AlknetStream(accepted, this.#allowHalfOpen))
    }
    return false
  }

  #wanted(): boolean {
    return this.#waiting.length > 0 || this.listenerCount('connection') > 0
  }

  #deliver(stream: AlknetStream): void {
    const { info } = stream
    setSender(stream, info.keyFingerprint)
    this.#waiting.shift()?.deliver({ stream, info })
    this.emit('connection', stream, info)
  }

  #onClosed(): void {
    this.#slot.remove()
    this.#signal?.removeEventListener('abort', this.#abort)
    for (const iterator of this.#waiting.splice(0)) iterator.end()
    this.emit('close')
  }
}
