/**
 * What sessions have in common that come back when they are lost, over SSH or through a tunnel: their events, their forwards,
 * their end.
 */
import { EventEmitter } from 'node:events'
import type * as contract from '../index.js'
import type {
  NativeError,
  NativeForwardOptions,
  NativeInfo,
  NativeStanding,
  PendingForward,
  PendingStream,
} from '../native/binding.js'
import { CLOSED, type Doorbell, doorbell, READABLE, Slot } from './doorbell.js'
import { AlknetError, fromNative } from './errors.js'
import { AlknetForward } from './forward.js'
import { OPEN, refuseUnknown } from './known.js'
import { abortSignal, boolean, milliseconds, object } from './options.js'
import { settle } from './pending.js'
import { AlknetStream } from './stream.js'

/** What the addon's sessions have in common. */
interface Native {
  readonly id: number
  standing(): NativeStanding
  forward(bell: Doorbell, options: NativeForwardOptions): PendingForward
  close(): void
  failure(): NativeError | null
}

/** A session; `name` is what it is called in messages. */
export abstract class Supervised<
  N extends Native,
> extends EventEmitter<contract.AlknetSessionEvents> {
  protected readonly native: N
  /** Of the session there is, or was last. */
  protected info: NativeInfo | undefined
  readonly #name: string
  readonly #slot: Slot
  readonly #forwards = new Set<AlknetForward>()
  #up = false
  /** Sessions that were told of. */
  #sessions = 0
  #closing: Promise<void> | undefined
  #failure: AlknetError | undefined

  constructor(native: N, name: string) {
    super()
    this.native = native
    this.#name = name
    this.#slot = new Slot(native.id, (mask) => this.#onBell(mask))
    this.#adopt(native.standing())
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  get closed(): boolean {
    return this.#slot.removed || this.#closing !== undefined
  }

  get up(): boolean {
    return this.#up
  }

  ref(): this {
    this.#slot.keepAlive.ref()
    return this
  }

  unref(): this {
    this.#slot.keepAlive.unref()
    return this
  }

  /** Has `begin` open a stream, with a limit in milliseconds. */
  protected openStream(
    options: contract.AlknetOpenOptions | undefined,
    begin: (limit: number | undefined) => PendingStream,
  ): Promise<AlknetStream> {
    refuseUnknown('options', object('options', options), OPEN)
    const { signal, timeout, allowHalfOpen } = options ?? {}
    const limit = milliseconds('options.timeout', timeout)
    const half = boolean('options.allowHalfOpen', allowHalfOpen)
    return settle(
      () => {
        this.#check()
        return begin(limit)
      },
      (stream) => new AlknetStream(stream, half),
      abortSignal(signal),
    )
  }

  protected startForward(
    kind: contract.AlknetForward['kind'],
    options: NativeForwardOptions,
    signal: AbortSignal | undefined,
  ): Promise<AlknetForward> {
    const abort = abortSignal(signal)
    return settle(
      () => {
        this.#check()
        return this.native.forward(doorbell(), options)
      },
      (started) => {
        const forward = new AlknetForward(started, kind, abort, (it) => this.#forwards.delete(it))
        this.#forwards.add(forward)
        if (this.closed) forward.close()
        this.#check()
        return forward
      },
      abort,
    )
  }

  /** Throws when it is closed. */
  #check(): void {
    if (!this.closed) return
    const details = { phase: 'channel', cause: this.#failure } as const
    throw new AlknetError('ERR_ALKNET_SESSION_CLOSED', `the ${this.#name} is closed`, details)
  }

  async #close(): Promise<void> {
    const forwards = this.#closeForwards()
    await Promise.all([forwards, this.#slot.close(() => this.native.close())])
  }

  #closeForwards(): Promise<unknown> {
    return Promise.all(Array.from(this.#forwards, (forward) => forward.close()))
  }

  #onBell(mask: number): void {
    try {
      if (mask & READABLE && !this.#slot.removed) this.#onStanding(this.native.standing())
    } finally {
      if (mask & CLOSED) this.#onClosed()
    }
  }

  /** Tells of every session's coming and going, also when it went and came since the bell last rang. */
  #onStanding(standing: NativeStanding): void {
    const another = standing.sessions > this.#sessions
    const wasUp = this.#up
    this.#adopt(standing)
    if (wasUp && (another || !this.#up)) this.emit('down', trouble(standing, this.#name))
    if (this.#up && (another || !wasUp)) this.emit('up')
  }

  #adopt(standing: NativeStanding): void {
    this.#up = standing.state === 'up'
    this.#sessions = standing.sessions
    this.info = standing.info ?? this.info
  }

  #onClosed(): void {
    this.#up = false
    this.#slot.remove()
    void this.#closeForwards()
    const failure = this.native.failure()
    if (failure !== null) this.#failure = fromNative(failure)
    if (this.#failure === undefined) this.emit('close')
    else this.emit('close', this.#failure)
  }
}

function trouble(standing: NativeStanding, name: string): AlknetError {
  if (standing.trouble !== undefined) return fromNative(standing.trouble)
  return new AlknetError('ERR_ALKNET_SESSION_CLOSED', `the ${name} was lost`, { phase: 'stream' })
}
