/**
 * `openSession()`: many streams on an SSH session that comes back when it is lost.
 */
import { EventEmitter } from 'node:events'
import type * as contract from '../index.js'
import type {
  NativeForwardOptions,
  NativeInfo,
  NativeSession,
  NativeStanding,
} from '../native/binding.js'
import { unlocked, whereAndHow } from './connect.js'
import { CLOSED, doorbell, READABLE, Slot } from './doorbell.js'
import { AlknetError, fromNative } from './errors.js'
import { AlknetForward, forwardOptions, socksOptions } from './forward.js'
import { native } from './native.js'
import { abortSignal, boolean, milliseconds, object, reconnectOptions, text } from './options.js'
import { wiping } from './passphrase.js'
import { settle } from './pending.js'
import { AlknetStream } from './stream.js'

/** Opens an SSH session. Bad arguments reject like those of `connect()`. */
export function openSession(options: contract.AlknetSessionOptions): Promise<contract.AlknetSession>
export function openSession(
  connectionString: string,
  options?: contract.AlknetSessionOptions,
): Promise<contract.AlknetSession>
export async function openSession(
  first: string | contract.AlknetSessionOptions,
  second?: contract.AlknetSessionOptions,
): Promise<contract.AlknetSession> {
  const [connectionString, options] = whereAndHow(first, second)
  const signal = abortSignal(options.signal)
  const reconnect = reconnectOptions(options.reconnect)
  const checked = await unlocked(connectionString, options, signal)
  return settle(
    () => wiping(checked.passphrase, () => native().openSession(doorbell(), checked, reconnect)),
    (session) => new AlknetSession(session),
    signal,
  )
}

class AlknetSession
  extends EventEmitter<contract.AlknetSessionEvents>
  implements contract.AlknetSession
{
  readonly #native: NativeSession
  readonly #slot: Slot
  /** Of the session there is, or was last. */
  #info: NativeInfo | undefined
  readonly #forwards = new Set<AlknetForward>()
  #up = false
  /** Sessions that were told of. */
  #sessions = 0
  #closing: Promise<void> | undefined
  #whenClosed: (() => void) | undefined
  #closed = false
  #failure: AlknetError | undefined

  constructor(session: NativeSession) {
    super()
    this.#native = session
    this.#slot = new Slot(session.id, (mask) => this.#onBell(mask))
    this.#adopt(session.standing())
  }

  async open(target?: string, options?: contract.AlknetOpenOptions): Promise<AlknetStream> {
    const { signal, timeout, allowHalfOpen } = object('options', options) ?? {}
    const where = text('target', target)
    const limit = milliseconds('options.timeout', timeout)
    const half = boolean('options.allowHalfOpen', allowHalfOpen)
    const abort = abortSignal(signal)
    return settle(
      () => {
        if (this.closed) throw this.#over()
        return this.#native.open(doorbell(), where, limit)
      },
      (stream) => new AlknetStream(stream, half),
      abort,
    )
  }

  async forward(options: contract.AlknetForwardOptions): Promise<AlknetForward> {
    return this.#forward('local', forwardOptions('local', options), options.signal)
  }

  async remoteForward(options: contract.AlknetForwardOptions): Promise<AlknetForward> {
    return this.#forward('remote', forwardOptions('remote', options), options.signal)
  }

  async socks5(options: contract.AlknetSocksOptions = {}): Promise<AlknetForward> {
    return this.#forward('socks5', socksOptions(options), options.signal)
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  get closed(): boolean {
    return this.#closed || this.#closing !== undefined
  }

  get up(): boolean {
    return this.#up
  }

  metrics(): contract.AlknetSessionMetrics {
    return this.#native.metrics()
  }

  get hostKeyFingerprint(): string {
    return this.#info?.hostKeyFingerprint ?? ''
  }

  get peerVersion(): string {
    return this.#info?.peer ?? ''
  }

  get remoteAddress(): string | undefined {
    return this.#info?.remoteAddress
  }

  get remotePort(): number | undefined {
    return this.#info?.remotePort
  }

  ref(): this {
    this.#slot.keepAlive.ref()
    return this
  }

  unref(): this {
    this.#slot.keepAlive.unref()
    return this
  }

  #forward(
    kind: contract.AlknetForward['kind'],
    options: NativeForwardOptions,
    signal: AbortSignal | undefined,
  ): Promise<AlknetForward> {
    const abort = abortSignal(signal)
    return settle(
      () => {
        if (this.closed) throw this.#over()
        return this.#native.forward(doorbell(), options)
      },
      (started) => {
        const forward = new AlknetForward(started, kind, abort, (it) => this.#forwards.delete(it))
        this.#forwards.add(forward)
        if (!this.closed) return forward
        forward.close()
        throw this.#over()
      },
      abort,
    )
  }

  async #close(): Promise<void> {
    const forwards = this.#closeForwards()
    const session = new Promise<void>((resolve) => {
      if (this.#closed) return resolve()
      this.#whenClosed = resolve
      // Closing is work under way, which an `unref()` earlier was not about.
      this.#slot.keepAlive.ref()
      this.#native.close()
    })
    await Promise.all([forwards, session])
  }

  #closeForwards(): Promise<unknown> {
    return Promise.all(Array.from(this.#forwards, (forward) => forward.close()))
  }

  #onBell(mask: number): void {
    try {
      if (mask & READABLE && !this.#closed) this.#onStanding(this.#native.standing())
    } finally {
      if (mask & CLOSED) this.#onClosed()
    }
  }

  /** Tells of every session's coming and going, also when it went and came since the bell last rang. */
  #onStanding(standing: NativeStanding): void {
    const another = standing.sessions > this.#sessions
    const wasUp = this.#up
    this.#adopt(standing)
    if (wasUp && (another || !this.#up)) this.emit('down', trouble(standing))
    if (this.#up && (another || !wasUp)) this.emit('up')
  }

  #adopt(standing: NativeStanding): void {
    this.#up = standing.state === 'up'
    this.#sessions = standing.sessions
    this.#info = standing.info ?? this.#info
  }

  #onClosed(): void {
    this.#closed = true
    this.#up = false
    this.#slot.remove()
    void this.#closeForwards()
    const failure = this.#native.failure()
    if (failure !== null) this.#failure = fromNative(failure)
    this.#whenClosed?.()
    if (this.#failure === undefined) this.emit('close')
    else this.emit('close', this.#failure)
  }

  #over(): AlknetError {
    const details = { phase: 'channel', cause: this.#failure } as const
    return new AlknetError('ERR_ALKNET_SESSION_CLOSED', 'the session is closed', details)
  }
}

function trouble(standing: NativeStanding): AlknetError {
  if (standing.trouble !== undefined) return fromNative(standing.trouble)
  return new AlknetError('ERR_ALKNET_SESSION_CLOSED', 'the session was lost', { phase: 'stream' })
}
