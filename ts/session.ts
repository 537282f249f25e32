/**
 * `openSession()`: many streams on one SSH session.
 */
import { EventEmitter } from 'node:events'
import type * as contract from '../index.js'
import type { NativeInfo, NativeSession } from '../native/binding.js'
import { whereAndHow } from './connect.js'
import { CLOSED, doorbell, Slot } from './doorbell.js'
import { AlknetError, fromNative } from './errors.js'
import { native } from './native.js'
import { abortSignal, boolean, connectOptions, milliseconds, object, text } from './options.js'
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
  const checked = connectOptions(connectionString, options)
  return settle(
    () => native().openSession(doorbell(), checked),
    (session) => new AlknetSession(session),
    signal,
  )
}

class AlknetSession
  extends EventEmitter<contract.AlknetSessionEvents>
  implements contract.AlknetSession
{
  readonly #native: NativeSession
  readonly #info: NativeInfo
  readonly #slot: Slot
  #closing: Promise<void> | undefined
  #whenClosed: (() => void) | undefined
  #closed = false
  #failure: AlknetError | undefined

  constructor(session: NativeSession) {
    super()
    this.#native = session
    this.#info = session.info()
    this.#slot = new Slot(session.id, (mask) => {
      if (mask & CLOSED) this.#onClosed()
    })
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

  close(): Promise<void> {
    this.#closing ??= new Promise((resolve) => {
      if (this.#closed) return resolve()
      this.#whenClosed = resolve
      // Closing is work under way, which an `unref()` earlier was not about.
      this.#slot.keepAlive.ref()
      this.#native.close()
    })
    return this.#closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  get closed(): boolean {
    return this.#closed || this.#closing !== undefined
  }

  get hostKeyFingerprint(): string {
    return this.#info.hostKeyFingerprint
  }

  get peerVersion(): string {
    return this.#info.peer
  }

  get remoteAddress(): string | undefined {
    return this.#info.remoteAddress
  }

  get remotePort(): number | undefined {
    return this.#info.remotePort
  }

  ref(): this {
    this.#slot.keepAlive.ref()
    return this
  }

  unref(): this {
    this.#slot.keepAlive.unref()
    return this
  }

  #onClosed(): void {
    this.#closed = true
    this.#slot.remove()
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
