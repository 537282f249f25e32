/**
 * From what people pass to what the addon takes. Wrong types and impossible values are `TypeError`s; a key is never part of
 * a message.
 */
import { types } from 'node:util'
import type {
  AlknetConnectOptions,
  AlknetForwardPolicy,
  AlknetServeOptions,
  AlknetSessionOptions,
  AlknetTransport,
  KeySource,
} from '../index.js'
import type {
  NativeConnectOptions,
  NativeForwardPolicy,
  NativeReconnect,
  NativeServeOptions,
  NativeSource,
} from '../native/binding.js'
import { busOptions } from './bus-options.js'
import { AlknetError, invalidType, invalidValue } from './errors.js'
import { CONNECT, FORWARDING, KEEPALIVE, RECONNECT, refuseUnknown, SERVE } from './known.js'
import { limits } from './limits.js'
import { checkPassphrase } from './passphrase.js'
import { acme, tlsVersion } from './tls-options.js'

// The longest time a timer can be set to, in Node and so in every option that is a time.
const LONGEST = 0x7fff_ffff
const MOST = 0xffff_ffff
const TRANSPORTS: readonly AlknetTransport[] = ['tcp', 'tls', 'ws', 'wss', 'iroh']

/** Checks the options of `connect()` and `openSession()`; the environment fills what is left out. */
export function connectOptions(
  connectionString: string | undefined,
  options: AlknetConnectOptions,
): NativeConnectOptions {
  refuseUnknown('options', options, CONNECT)
  const named = connectionString !== undefined || options.peer !== undefined
  const given = texts('options.server', options.server) ?? (named ? [] : serversOfEnvironment())
  // A connection string names its own.
  const [server, ...furtherServers] = connectionString === undefined ? given : []
  const agentSocket = agent(options.agent, options.identity)
  const fallback = agentSocket === undefined ? process.env.ALKNET_IDENTITY || undefined : undefined
  const { path, contents } = key('options.identity', options.identity ?? fallback)
  checkPassphrase('options.passphrase', options.passphrase)
  return defined<NativeConnectOptions>({
    connectionString,
    server,
    furtherServers: furtherServers.length > 0 ? furtherServers : undefined,
    peer: text('options.peer', options.peer),
    irohAddresses: texts('options.irohAddress', options.irohAddress),
    irohRelay: text('options.irohRelay', options.irohRelay),
    family: family('options.family', options.family),
    transport: transports('options.transport', options.transport),
    identityPath: path,
    identity: contents,
    agent: agentSocket,
    certificate: optionalSource('options.certificate', options.certificate),
    insecurePermissions: boolean('options.insecurePermissions', options.insecurePermissions),
    user: text('options.user', options.user),
    target: text('options.target', options.target),
    hostKeys: hostKeys('options.hostKeys', options.hostKeys),
    knownHosts: knownHosts('options.knownHosts', options.knownHosts),
    hostKeyAlias: text('options.hostKeyAlias', options.hostKeyAlias),
    trust: trust('options.trust', options.trust),
    tlsCa: optionalSource('options.tlsCa', options.tlsCa),
    tlsServerName: text('options.tlsServerName', options.tlsServerName),
    tlsMin: tlsVersion(options.tlsMin),
    insecure: boolean('options.insecure', options.insecure),
    proxy: text('options.proxy', options.proxy),
    connectTimeout: integer('options.connectTimeout', options.connectTimeout, 1, LONGEST),
    ...keepalive(options.keepalive),
    window: window(options.window),
    rekeyBytes: integer('options.rekeyBytes', options.rekeyBytes, 1_048_576, 1_073_741_824),
  })
}

function family(name: string, value: AlknetConnectOptions['family']): number | undefined {
  if (value === undefined || value === 0 || value === 4 || value === 6) return value
  throw invalidValue(name, '0, 4 or 6')
}

/** The socket of the agent that logs in, if one is to. */
function agent(
  given: AlknetConnectOptions['agent'],
  identity: KeySource | undefined,
): string | undefined {
  if (given === undefined || given === false) return undefined
  if (given !== true && typeof given !== 'string') {
    throw invalidType('options.agent', 'a boolean or the path of a socket', given)
  }
  const refuse = (message: string, hint: string) =>
    new AlknetError('ERR_ALKNET_CONFIG', `${message}: ${hint}`, { phase: 'config', hint })
  if (identity !== undefined) {
    throw refuse('identity and agent contradict each other', 'name the one that is to log in')
  }
  if (given !== true) return text('options.agent', given)
  const socket = process.env.SSH_AUTH_SOCK || undefined
  if (socket !== undefined) return socket
  throw refuse('no ssh-agent is running here', 'SSH_AUTH_SOCK is not set; see ssh-agent(1)')
}

function serversOfEnvironment(): string[] {
  return (process.env.ALKNET_SERVER ?? '').split(',').filter((server) => server !== '')
}

/** Checks `reconnect` of `openSession()`. */
export function reconnectOptions(given: AlknetSessionOptions['reconnect']): NativeReconnect {
  if (given === undefined || typeof given === 'boolean') return { enabled: given !== false }
  const name = 'options.reconnect'
  if (typeof given !== 'object' || given === null) {
    throw invalidType(name, 'a boolean or an object', given)
  }
  refuseUnknown(name, given, RECONNECT)
  return defined<NativeReconnect>({
    enabled: true,
    fromTheStart: boolean(`${name}.fromTheStart`, given.fromTheStart),
    longestPause: milliseconds(`${name}.longestPause`, given.longestPause),
    wait: integer(`${name}.wait`, given.wait, 0, LONGEST),
  })
}

/** Checks the options of `serve()`. */
export function serveOptions(options: AlknetServeOptions): NativeServeOptions {
  refuseUnknown('options', options, SERVE)
  const hostKey = key('options.hostKey', options.hostKey)
  const authorizedKeys = source('options.authorizedKeys', options.authorizedKeys)
  checkPassphrase('options.hostKeyPassphrase', options.hostKeyPassphrase)
  return defined<NativeServeOptions>({
    listen: texts('options.listen', options.listen),
    irohKey: text('options.irohKey', options.irohKey),
    irohRelay: text('options.irohRelay', options.irohRelay),
    tlsCa: optionalSource('options.tlsCa', options.tlsCa),
    transport: transports('options.transport', options.transport),
    hostKeyPath: hostKey.path,
    hostKey: hostKey.contents,
    insecurePermissions: boolean('options.insecurePermissions', options.insecurePermissions),
    authorizedKeysPath: authorizedKeys.path,
    authorizedKeys: authorizedKeys.contents,
    certAuthority: optionalSource('options.certAuthority', options.certAuthority),
    revokedKeys: optionalSource('options.revokedKeys', options.revokedKeys),
    hostCertificate: optionalSource('options.hostCertificate', options.hostCertificate),
    ...keepalive(options.keepalive),
    window: window(options.window),
    rekeyBytes: integer('options.rekeyBytes', options.rekeyBytes, 1_048_576, 1_073_741_824),
    limits: limits(options.limits),
    forwarding: forwarding(options.forwarding),
    tlsCert: optionalSource('options.tlsCert', options.tlsCert),
    tlsKey: pemKey('options.tlsKey', options.tlsKey),
    tlsMin: tlsVersion(options.tlsMin),
    ...acme(options),
    stealth: boolean('options.stealth', options.stealth),
    wsHosts: texts('options.wsHosts', options.wsHosts),
    wsOrigins: texts('options.wsOrigins', options.wsOrigins),
    proxy: text('options.proxy', options.proxy),
    bus: busOptions(options.bus),
    metrics: text('options.metrics', options.metrics),
  })
}

function forwarding(
  given: boolean | AlknetForwardPolicy | undefined,
): NativeForwardPolicy | undefined {
  if (given === undefined || given === false) return undefined
  if (given === true) return {}
  const name = 'options.forwarding'
  if (typeof given !== 'object' || given === null) {
    throw invalidType(name, 'a boolean or an object', given)
  }
  refuseUnknown(name, given, FORWARDING)
  return defined<NativeForwardPolicy>({
    tcp: boolean(`${name}.tcp`, given.tcp),
    unix: boolean(`${name}.unix`, given.unix),
    udp: boolean(`${name}.udp`, given.udp),
    linkLocal: boolean(`${name}.linkLocal`, given.linkLocal),
    publicOnly: boolean(`${name}.publicOnly`, given.publicOnly),
    remote: boolean(`${name}.remote`, given.remote),
    gatewayPorts: boolean(`${name}.gatewayPorts`, given.gatewayPorts),
  })
}

/** The options object itself, which may be left out. */
export function object<T extends object>(name: string, value: T | undefined): T | undefined {
  if (value === undefined) return undefined
  if (typeof value !== 'object' || value === null) throw invalidType(name, 'an object', value)
  return value
}

export function text(name: string, value: string | undefined): string | undefined {
  if (value === undefined) return undefined
  if (typeof value !== 'string') throw invalidType(name, 'a string', value)
  if (value === '' || value.includes('\0')) throw invalidValue(name, 'a string that is not empty')
  return value
}

export function boolean(name: string, value: boolean | undefined): boolean | undefined {
  if (value === undefined || typeof value === 'boolean') return value
  throw invalidType(name, 'a boolean', value)
}

export function integer(
  name: string,
  value: number | undefined,
  least: number,
  most: number,
): number | undefined {
  if (value === undefined) return undefined
  if (typeof value !== 'number') throw invalidType(name, 'a number', value)
  if (Number.isInteger(value) && value >= least && value <= most) return value
  throw invalidValue(name, `an integer from ${least} to ${most}, but is ${value}`)
}

/** A limit in milliseconds. */
export function milliseconds(name: string, value: number | undefined): number | undefined {
  return integer(name, value, 1, LONGEST)
}

export function abortSignal(value: AbortSignal | undefined): AbortSignal | undefined {
  if (value === undefined) return undefined
  // Not `instanceof`: a signal may come from another realm or a polyfill.
  const usable = typeof value === 'object' && value !== null && 'aborted' in value
  if (!usable) throw invalidType('options.signal', 'an AbortSignal', value)
  return value
}

export function transports(
  name: string,
  value: AlknetConnectOptions['transport'],
): string[] | undefined {
  const names = texts(name, value)
  if (names?.some((each) => !TRANSPORTS.some((known) => known === each))) {
    throw invalidValue(name, `one or more of '${TRANSPORTS.join("', '")}'`)
  }
  return names
}

/** One text or more. */
export function texts(
  name: string,
  value: string | readonly string[] | undefined,
): string[] | undefined {
  if (value === undefined) return undefined
  const list: readonly string[] = typeof value === 'string' ? [value] : value
  if (!Array.isArray(list)) throw invalidType(name, 'a string or an array of strings', value)
  if (list.length === 0) throw invalidValue(name, 'a string or an array that is not empty')
  return list.map((entry) => {
    if (entry === undefined) throw invalidType(name, 'made of strings', entry)
    return text(name, entry) as string
  })
}

function window(value: number | undefined): number | undefined {
  return integer('options.window', value, 262_144, 16_777_216)
}

function keepalive(value: AlknetConnectOptions['keepalive']) {
  if (value === false) return { keepaliveInterval: 0 }
  if (value === undefined) return {}
  if (typeof value !== 'object' || value === null) {
    throw invalidType('options.keepalive', 'false or an object', value)
  }
  refuseUnknown('options.keepalive', value, KEEPALIVE)
  return {
    keepaliveInterval: milliseconds('options.keepalive.interval', value.interval),
    keepaliveCount: integer('options.keepalive.count', value.count, 1, MOST),
  }
}

interface Source {
  path?: string | undefined
  contents?: Uint8Array | undefined
}

function source(name: string, value: KeySource | undefined): Source {
  if (value === undefined) return {}
  if (typeof value === 'string') return { path: text(name, value) }
  // Not `instanceof`: test runners give every file a realm of its own.
  if (types.isUint8Array(value)) return { contents: value }
  throw invalidType(name, 'a path or a Buffer', value)
}

/** The same for a file that may be given or not. A private key has no place in it, and must not get into a message. */
export function optionalSource(
  name: string,
  value: KeySource | undefined,
): NativeSource | undefined {
  if (value === undefined) return undefined
  const { path, contents } = key(name, value)
  return defined<NativeSource>({ path, contents })
}

/** A private key. One that is passed where a path belongs must not get into a message about a missing file. */
function key(name: string, value: KeySource | undefined): Source {
  if (typeof value === 'string' && isPrivateKey(value)) {
    const hint = 'pass the key itself in a Buffer, or the path of its file as a string'
    const message = `${name} is a path when it is a string, but is a key: ${hint}`
    throw new AlknetError('ERR_ALKNET_KEY_INVALID', message, { phase: 'config', hint })
  }
  return source(name, value)
}

function pemKey(name: string, value: KeySource | undefined): NativeSource | undefined {
  key(name, value)
  return optionalSource(name, value)
}

export function hostKeys(
  name: string,
  value: AlknetConnectOptions['hostKeys'],
): string[] | undefined {
  if (value === undefined) return undefined
  const list: readonly (string | Uint8Array)[] =
    typeof value === 'string' || types.isUint8Array(value) ? [value] : value
  if (!Array.isArray(list)) throw invalidType(name, 'a string, a Buffer or an array of them', value)
  return list.flatMap((entry) => hostKeyLines(name, entry))
}

function hostKeyLines(name: string, entry: string | Uint8Array): string[] {
  if (typeof entry !== 'string' && !types.isUint8Array(entry)) {
    throw invalidType(name, 'made of strings and Buffers', entry)
  }
  const keys = typeof entry === 'string' ? entry : Buffer.from(entry).toString('utf8')
  if (isPrivateKey(keys)) {
    const hint =
      'pass the public key or its SHA256 fingerprint, and keep the private key where it is'
    const message = `${name} has a private key: ${hint}`
    throw new AlknetError('ERR_ALKNET_CONFIG', message, { phase: 'config', hint })
  }
  const lines = keys.split(/\r?\n/).map((line) => line.trim())
  const found = lines.filter((line) => line !== '' && !line.startsWith('#'))
  if (found.length === 0) throw invalidValue(name, 'fingerprints or public keys, but one is empty')
  return found
}

export function knownHosts(
  name: string,
  value: AlknetConnectOptions['knownHosts'],
): NativeSource[] | undefined {
  if (value === undefined) return undefined
  const list: readonly KeySource[] =
    typeof value === 'string' || types.isUint8Array(value) ? [value] : value
  if (!Array.isArray(list)) throw invalidType(name, 'a path, a Buffer or an array of them', value)
  return list.map((entry) => {
    if (entry === undefined) throw invalidType(name, 'made of paths and Buffers', entry)
    // A missing file is an empty one, so contents taken for a path would go unnoticed.
    const isContents = typeof entry === 'string' && /[\r\n]|\sAAAA/.test(entry)
    if (isContents) throw invalidValue(name, 'a path when it is a string, and contents in a Buffer')
    return defined<NativeSource>({ path: undefined, contents: undefined, ...source(name, entry) })
  })
}

export function trust(name: string, value: AlknetConnectOptions['trust']): string | undefined {
  if (value === undefined || value === 'strict' || value === 'first-use') return value
  throw invalidValue(name, "'strict' or 'first-use'")
}

function isPrivateKey(text: string): boolean {
  return /-----BEGIN [A-Z0-9 ]*PRIVATE KEY/.test(text)
}

type MaybeUndefined<T> = { [K in keyof T]: T[K] | undefined }

/** The same without the properties that are undefined, which to the addon is not the same as absent. */
export function defined<T extends object>(options: MaybeUndefined<T>): T
export function defined(options: object): object {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined))
}
