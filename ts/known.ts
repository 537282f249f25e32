/** Options that there are. What else is passed is refused: a misspelt `revokedKeys` would let in who should not. */
import type {
  AlknetConnectOptions,
  AlknetEventTargetOptions,
  AlknetForwardOptions,
  AlknetForwardPolicy,
  AlknetJump,
  AlknetKeepalive,
  AlknetOpenOptions,
  AlknetReconnectOptions,
  AlknetServeOptions,
  AlknetSessionOptions,
  AlknetSocksOptions,
  AlknetTunnelOptions,
} from '../index.js'
import { AlknetError } from './errors.js'

// An object, so that the compiler finds what is missing.
const names = <T>(all: Record<keyof T, true>): readonly string[] => Object.keys(all)

/** Of `connect()` and `openSession()` alike, so that both can be given one object. */
export const CONNECT = names<AlknetConnectOptions & AlknetSessionOptions>({
  server: true,
  peer: true,
  irohAddress: true,
  irohRelay: true,
  family: true,
  transport: true,
  identity: true,
  certificate: true,
  passphrase: true,
  agent: true,
  insecurePermissions: true,
  user: true,
  target: true,
  hostKeys: true,
  knownHosts: true,
  hostKeyAlias: true,
  trust: true,
  proxy: true,
  jump: true,
  tlsCa: true,
  tlsServerName: true,
  tlsMin: true,
  insecure: true,
  connectTimeout: true,
  keepalive: true,
  signal: true,
  allowHalfOpen: true,
  window: true,
  rekeyBytes: true,
  reconnect: true,
})

export const JUMP = names<AlknetJump>({
  server: true,
  transport: true,
  user: true,
  identity: true,
  certificate: true,
  passphrase: true,
  hostKeys: true,
  knownHosts: true,
  hostKeyAlias: true,
  trust: true,
})

export const SERVE = names<AlknetServeOptions>({
  listen: true,
  transport: true,
  irohKey: true,
  irohRelay: true,
  tlsCa: true,
  hostKey: true,
  hostKeyPassphrase: true,
  authorizedKeys: true,
  certAuthority: true,
  revokedKeys: true,
  hostCertificate: true,
  insecurePermissions: true,
  tlsCert: true,
  tlsKey: true,
  tlsMin: true,
  acmeDomain: true,
  acmeDirectory: true,
  acmeCache: true,
  acmeCa: true,
  acmeContact: true,
  stealth: true,
  wsHosts: true,
  wsOrigins: true,
  signal: true,
  keepalive: true,
  window: true,
  rekeyBytes: true,
  allowHalfOpen: true,
  limits: true,
  forwarding: true,
  proxy: true,
  bus: true,
  metrics: true,
})

export const KEEPALIVE = names<AlknetKeepalive>({ interval: true, count: true })

export const RECONNECT = names<AlknetReconnectOptions>({
  fromTheStart: true,
  longestPause: true,
  wait: true,
})

export const FORWARDING = names<AlknetForwardPolicy>({
  tcp: true,
  unix: true,
  udp: true,
  linkLocal: true,
  publicOnly: true,
  remote: true,
  gatewayPorts: true,
})

export const FORWARD = names<AlknetForwardOptions>({
  listen: true,
  target: true,
  signal: true,
  maxConnections: true,
  replaceStaleSocket: true,
  udpIdleTimeout: true,
})

export const SOCKS = names<AlknetSocksOptions>({
  listen: true,
  username: true,
  password: true,
  signal: true,
  maxConnections: true,
})

export const OPEN = names<AlknetOpenOptions>({ signal: true, timeout: true, allowHalfOpen: true })

export const TUNNEL = names<AlknetTunnelOptions>({
  host: true,
  task: true,
  token: true,
  insecure: true,
  tlsCa: true,
  tlsServerName: true,
  reconnect: true,
  signal: true,
})

export const EVENTS = names<AlknetEventTargetOptions>({
  stream: true,
  session: true,
  target: true,
  offline: true,
  echo: true,
  detail: true,
  maxFrame: true,
  maxBuffered: true,
  onOverflow: true,
})

/** What other libraries call it, by our name. */
const ELSEWHERE: Readonly<Record<string, readonly string[]>> = {
  server: ['host', 'hostname', 'port', 'address', 'url'],
  listen: ['host', 'hostname', 'port', 'address'],
  user: ['username', 'login'],
  identity: ['key', 'privateKey', 'privateKeyPath', 'identityFile'],
  hostKey: ['key', 'privateKey', 'hostKeys'],
  hostKeys: ['fingerprint', 'hostVerifier', 'hostHash'],
  connectTimeout: ['timeout', 'readyTimeout'],
  keepalive: ['keepaliveInterval', 'keepaliveCountMax'],
  jump: ['proxyJump', 'sock'],
}

/**
 * Refuses what is no option, with the one that was probably meant. A property that is undefined was not passed.
 *
 * @throws AlknetError - `ERR_ALKNET_CONFIG`
 */
export function refuseUnknown(
  name: string,
  given: object | undefined,
  known: readonly string[],
): void {
  for (const [option, value] of Object.entries(given ?? {})) {
    if (value === undefined || known.includes(option)) continue
    const meant = meantBy(option, known)
    const hint = meant === undefined ? undefined : `did you mean ${name}.${meant}?`
    const message = `there is no option ${name}.${option}${hint === undefined ? '' : `: ${hint}`}`
    throw new AlknetError('ERR_ALKNET_CONFIG', message, {
      phase: 'config',
      ...(hint === undefined ? {} : { hint }),
    })
  }
}

function meantBy(option: string, known: readonly string[]): string | undefined {
  const elsewhere = known.find((name) => ELSEWHERE[name]?.includes(option))
  if (elsewhere !== undefined) return elsewhere
  const [nearest] = known
    .map((name) => ({ name, apart: distance(option.toLowerCase(), name.toLowerCase()) }))
    .sort((a, b) => a.apart - b.apart)
  // A third of its letters may be wrong.
  return nearest !== undefined && nearest.apart * 3 <= option.length ? nearest.name : undefined
}

/** How many letters have to be put in, taken out or exchanged (Levenshtein). */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, at) => at)
  for (const [i, letter] of [...a].entries()) {
    const next = [i + 1]
    for (const [j, other] of [...b].entries()) {
      const exchanged = (row[j] ?? 0) + (letter === other ? 0 : 1)
      next.push(Math.min(exchanged, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1))
    }
    row = next
  }
  return row.at(-1) ?? 0
}
