/**
 * Forwards of a session: `ssh -L`, `-R` and `-D`. Bytes never come into JavaScript.
 */
import type * as contract from '../index.js'
import type { NativeForward, NativeForwardOptions } from '../native/binding.js'
import { CLOSED, Slot } from './doorbell.js'
import { invalidType, invalidValue } from './errors.js'
import { FORWARD, refuseUnknown, SOCKS } from './known.js'
import { boolean, defined, integer, milliseconds, object, text } from './options.js'

type Kind = contract.AlknetForward['kind']

const MOST = 0xffff_ffff
const PROXY = '127.0.0.1:1080'

/** Checks the options of `forward()` and `remoteForward()`. */
export function forwardOptions(
  kind: 'local' | 'remote',
  options: contract.AlknetForwardOptions,
): NativeForwardOptions {
  const given = required(options)
  refuseUnknown('options', given, FORWARD)
  const target = text('options.target', given.target)
  if (target === undefined) throw invalidType('options.target', 'a string', target)
  return defined<NativeForwardOptions>({
    kind,
    listen: listen(given.listen),
    target,
    username: undefined,
    password: undefined,
    maxConnections: maxConnections(given.maxConnections),
    replaceStaleSocket: boolean('options.replaceStaleSocket', given.replaceStaleSocket),
    udpIdleTimeout: milliseconds('options.udpIdleTimeout', given.udpIdleTimeout),
  })
}

/** Checks the options of `socks5()`. */
export function socksOptions(options: contract.AlknetSocksOptions): NativeForwardOptions {
  const given = required(options)
  refuseUnknown('options', given, SOCKS)
  const username = text('options.username', given.username)
  const password = text('options.password', given.password)
  if ((username === undefined) !== (password === undefined)) {
    throw invalidValue('options.username', 'given together with options.password, or not at all')
  }
  return defined<NativeForwardOptions>({
    kind: 'socks5',
    listen: given.listen === undefined ? PROXY : listen(given.listen),
    target: undefined,
    username,
    password,
    maxConnections: maxConnections(given.maxConnections),
    replaceStaleSocket: undefined,
    udpIdleTimeout: undefined,
  })
}

function required<T extends object>(options: T): T {
  if (object('options', options) === undefined) throw invalidType('options', 'an object', options)
  return options
}

function listen(value: number | string): string {
  const name = 'options.listen'
  if (typeof value === 'number') return String(integer(name, value, 0, 65_535))
  if (typeof value !== 'string') throw invalidType(name, 'a number or a string', value)
  return text(name, value) ?? ''
}

function maxConnections(value: number | undefined): number | undefined {
  return integer('options.maxConnections', value, 1, MOST)
}

export class AlknetForward implements contract.AlknetForward {
  readonly #native: NativeForward
  readonly #slot: Slot
  readonly #signal: AbortSignal | undefined
  readonly #abort = (): void => void this.close()
  readonly #onClosed: (forward: AlknetForward) => void
  #addresses: readonly string[] = []

  readonly kind: Kind

  constructor(
    forward: NativeForward,
    kind: Kind,
    signal: AbortSignal | undefined,
    onClosed: (forward: AlknetForward) => void,
  ) {
    this.#native = forward
    this.kind = kind
    this.#signal = signal
    this.#onClosed = onClosed
    this.#slot = new Slot(forward.id, (mask) => this.#onBell(mask))
    this.#addresses = forward.addresses()
    signal?.addEventListener('abort', this.#abort, { once: true })
  }

  get addresses(): readonly string[] {
    // A session lost in this very moment has no port; the next one has.
    if (this.#addresses.length === 0) this.#addresses = this.#native.addresses()
    return this.#addresses
  }

  get port(): number | undefined {
    const first = this.addresses[0]
    return first === undefined ? undefined : Number(first.slice(first.lastIndexOf(':') + 1))
  }

  metrics(): contract.AlknetForwardMetrics {
    return this.#native.metrics()
  }

  get closed(): boolean {
    return this.#slot.closing
  }

  close(): Promise<void> {
    return this.#slot.close(() => this.#native.close())
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

  #onBell(mask: number): void {
    if ((mask & CLOSED) === 0) return
    this.#slot.remove()
    this.#signal?.removeEventListener('abort', this.#abort)
    this.#onClosed(this)
  }
}
