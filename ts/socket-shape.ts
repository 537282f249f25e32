/**
 * The members of `net.Socket` that Node programs use, for a stream that is already open.
 *
 * It must not be a `net.Socket`: `tls.connect({ socket })` reaches for the handle of one, and wraps any other `Duplex`.
 */
import { isIP, type Server } from 'node:net'
import { Duplex, finished } from 'node:stream'
import type * as contract from '../index.js'
import type { NativeInfo } from '../native/binding.js'
import { IdleTimer } from './idle-timer.js'
import { connectionInfo } from './info.js'

const HIGH_WATER_MARK = 65_536

/** A `Duplex` that passes for a `net.Socket`. What moves bytes is left to the subclass. */
export abstract class SocketShape extends Duplex implements contract.AlknetStream {
  // On the prototype and to be written to: `node:http` does.
  declare readonly server: Server | null
  readonly #source: { info(): NativeInfo }
  #known: NativeInfo | undefined
  readonly #idle = new IdleTimer()
  #info: contract.ConnectionInfo | undefined
  #bytesRead = 0
  #bytesWritten = 0

  constructor(source: { info(): NativeInfo }, allowHalfOpen: boolean) {
    super({ allowHalfOpen, highWaterMark: HIGH_WATER_MARK })
    this.#source = source
  }

  /** Fetched when it is asked for: most streams never are. */
  get #native(): NativeInfo {
    this.#known ??= this.#source.info()
    return this.#known
  }

  abstract ref(): this
  abstract unref(): this

  get info(): contract.ConnectionInfo {
    this.#info ??= connectionInfo(this.#native)
    return this.#info
  }

  get remoteAddress(): string | undefined {
    return this.#native.remoteAddress
  }

  get remotePort(): number | undefined {
    return this.#native.remotePort
  }

  get remoteFamily(): string | undefined {
    return family(this.#native.remoteAddress)
  }

  get localAddress(): string | undefined {
    return this.#native.localAddress
  }

  get localPort(): number | undefined {
    return this.#native.localPort
  }

  get localFamily(): string | undefined {
    return family(this.#native.localAddress)
  }

  address(): { address: string; family: string; port: number } | Record<string, never> {
    const { localAddress: address, localPort: port, localFamily: family } = this
    return address && port !== undefined && family ? { address, family, port } : {}
  }

  get bytesRead(): number {
    return this.#bytesRead
  }

  get bytesWritten(): number {
    return this.#bytesWritten
  }

  get bufferSize(): number {
    return this.writableLength
  }

  get connecting(): boolean {
    return false
  }

  get pending(): boolean {
    return false
  }

  get autoSelectFamilyAttemptedAddresses(): string[] {
    return []
  }

  get readyState(): 'open' | 'readOnly' | 'writeOnly' | 'closed' {
    if (this.readable) return this.writable ? 'open' : 'readOnly'
    return this.writable ? 'writeOnly' : 'closed'
  }

  get timeout(): number | undefined {
    return this.#idle.ms
  }

  setTimeout(ms: number, callback?: () => void): this {
    if (this.destroyed) return this
    this.#idle.set(ms, () => this.emit('timeout'))
    if (callback !== undefined) {
      if (ms === 0) this.removeListener('timeout', callback)
      else this.once('timeout', callback)
    }
    return this
  }

  setNoDelay(_noDelay?: boolean): this {
    return this
  }

  setKeepAlive(_enable?: boolean | object, _initialDelay?: number): this {
    return this
  }

  /**
   * For drivers that take a socket and connect it themselves, such as pg: the stream leads where it was opened to, whatever
   * the arguments say, so it answers with `'connect'` and `'ready'`.
   */
  connect(...args: unknown[]): this {
    const callback = args.at(-1)
    if (typeof callback === 'function') this.once('connect', () => callback())
    process.nextTick(() => {
      if (!this.destroyed) this.emit('connect')
      if (!this.destroyed) this.emit('ready')
    })
    return this
  }

  destroySoon(): void {
    if (this.writable) this.end()
    if (this.writableFinished) this.destroy()
    else this.once('finish', () => this.destroy())
  }

  resetAndDestroy(): this {
    return this.destroy()
  }

  getTypeOfService(): number {
    return 0
  }

  setTypeOfService(_value: number): this {
    return this
  }

  protected countRead(bytes: number): void {
    this.#bytesRead += bytes
    this.#idle.touch()
  }

  protected countWritten(bytes: number): void {
    this.#bytesWritten += bytes
    this.#idle.touch()
  }

  protected stopTimeout(): void {
    this.#idle.stop()
  }
}

Object.defineProperty(SocketShape.prototype, 'server', { value: null, writable: true })

// Node's own streams have it; other runtimes may not.
if (!(Symbol.asyncDispose in Duplex.prototype)) {
  Object.defineProperty(SocketShape.prototype, Symbol.asyncDispose, {
    value(this: Duplex): Promise<void> {
      return new Promise((resolve) => finished(this.destroy(), () => resolve()))
    },
    writable: true,
    configurable: true,
  })
}

function family(address: string | undefined): string | undefined {
  const version = address === undefined ? 0 : isIP(address)
  return version === 0 ? undefined : `IPv${version}`
}
