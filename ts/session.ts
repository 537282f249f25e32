/**
 * `openSession()`: many streams on an SSH session that comes back when it is lost.
 */
import type * as contract from '../index.js'
import type { NativeSession } from '../native/binding.js'
import { secrets, unlocked, whereAndHow } from './connect.js'
import { doorbell } from './doorbell.js'
import { type AlknetForward, forwardOptions, socksOptions } from './forward.js'
import { native } from './native.js'
import { abortSignal, reconnectOptions, text } from './options.js'
import { wiping } from './passphrase.js'
import { settle } from './pending.js'
import type { AlknetStream } from './stream.js'
import { Supervised } from './supervised.js'

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
    () => wiping(secrets(checked), () => native().openSession(doorbell(), checked, reconnect)),
    (session) => new AlknetSession(session),
    signal,
  )
}

class AlknetSession extends Supervised<NativeSession> implements contract.AlknetSession {
  constructor(session: NativeSession) {
    super(session, 'session')
  }

  async open(target?: string, options?: contract.AlknetOpenOptions): Promise<AlknetStream> {
    const where = text('target', target)
    return this.openStream(options, (limit) => this.native.open(doorbell(), where, limit))
  }

  async forward(options: contract.AlknetForwardOptions): Promise<AlknetForward> {
    return this.startForward('local', forwardOptions('local', options), options.signal)
  }

  async remoteForward(options: contract.AlknetForwardOptions): Promise<AlknetForward> {
    return this.startForward('remote', forwardOptions('remote', options), options.signal)
  }

  async socks5(options: contract.AlknetSocksOptions = {}): Promise<AlknetForward> {
    return this.startForward('socks5', socksOptions(options), options.signal)
  }

  metrics(): contract.AlknetSessionMetrics {
    return this.native.metrics()
  }

  get hostKeyFingerprint(): string {
    return this.info?.hostKeyFingerprint ?? ''
  }

  get peerVersion(): string {
    return this.info?.peer ?? ''
  }

  get remoteAddress(): string | undefined {
    return this.info?.remoteAddress
  }

  get remotePort(): number | undefined {
    return this.info?.remotePort
  }
}
