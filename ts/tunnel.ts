/**
 * `openTunnel()`: any port of a container, by one connection to a host that comes back when it is lost.
 */
import type * as contract from '../index.js'
import type { NativeForwardOptions, NativeTunnel, NativeTunnelOptions } from '../native/binding.js'
import { doorbell } from './doorbell.js'
import { invalidType, invalidValue } from './errors.js'
import { type AlknetForward, forwardOptions } from './forward.js'
import { refuseUnknown, TUNNEL } from './known.js'
import { native } from './native.js'
import {
  abortSignal,
  boolean,
  defined,
  integer,
  object,
  optionalSource,
  reconnectOptions,
  text,
} from './options.js'
import { settle } from './pending.js'
import type { AlknetStream } from './stream.js'
import { Supervised } from './supervised.js'

/** Begins a session with a container. Bad arguments reject like those of `connect()`. */
export async function openTunnel(
  options: contract.AlknetTunnelOptions,
): Promise<contract.AlknetTunnel> {
  if (object('options', options) === undefined) throw invalidType('options', 'an object', options)
  refuseUnknown('options', options, TUNNEL)
  const signal = abortSignal(options.signal)
  const reconnect = reconnectOptions(options.reconnect)
  const checked = tunnelOptions(options)
  return settle(
    () => native().openTunnel(doorbell(), checked, reconnect),
    (tunnel) => new AlknetTunnel(tunnel),
    signal,
  )
}

function tunnelOptions(options: contract.AlknetTunnelOptions): NativeTunnelOptions {
  const env = process.env
  const host = text('options.host', options.host) ?? (env.ALKNET_TUNNEL_HOST || 'localhost')
  const token = text('options.token', options.token) ?? (env.ALKNET_TUNNEL_TOKEN || undefined)
  return defined<NativeTunnelOptions>({
    host,
    task: task(options.task),
    token,
    insecure: boolean('options.insecure', options.insecure),
    tlsCa: optionalSource('options.tlsCa', options.tlsCa),
    tlsServerName: text('options.tlsServerName', options.tlsServerName),
  })
}

function task(value: number | string): string {
  const name = 'options.task'
  if (typeof value === 'number') return String(integer(name, value, 0, Number.MAX_SAFE_INTEGER))
  if (typeof value !== 'string') throw invalidType(name, 'a number or a string', value)
  if (!/^[0-9]{1,19}$/.test(value)) throw invalidValue(name, 'the number of a task')
  return value
}

function port(name: string, value: number): number {
  if (typeof value !== 'number') throw invalidType(name, 'a number', value)
  return integer(name, value, 1, 65_535) as number
}

class AlknetTunnel extends Supervised<NativeTunnel> implements contract.AlknetTunnel {
  constructor(tunnel: NativeTunnel) {
    super(tunnel, 'tunnel')
  }

  async open(at: number, options?: contract.AlknetOpenOptions): Promise<AlknetStream> {
    const where = port('port', at)
    return this.openStream(options, (limit) => this.native.open(doorbell(), where, limit))
  }

  async forward(options: contract.AlknetTunnelForwardOptions): Promise<AlknetForward> {
    return this.startForward('local', leading('', options), options.signal)
  }

  async udp(options: contract.AlknetTunnelForwardOptions): Promise<AlknetForward> {
    return this.startForward('local', leading('udp:', options), options.signal)
  }

  metrics(): contract.AlknetSessionMetrics {
    return this.native.metrics()
  }
}

function leading(kind: string, options: contract.AlknetTunnelForwardOptions): NativeForwardOptions {
  if (object('options', options) === undefined) throw invalidType('options', 'an object', options)
  const { port: at, listen = 0, ...rest } = options
  const target = `${kind}localhost:${port('options.port', at)}`
  return forwardOptions('local', { ...rest, listen, target })
}
