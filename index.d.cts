/**
 * `@alkdev/alknet`: an authenticated byte stream to anywhere you may go.
 *
 * `connect()` resolves to a real Node `Duplex` on its own SSH session, `serve()` accepts such streams, and
 * `createAlknetEventTarget()` puts typed publish/subscribe on any of them.
 *
 * Times are milliseconds, sizes are bytes. Every rejection is an {@link AlknetError} or, when a signal was aborted, an
 * `AbortError`; `code` is stable and listed in docs/errors.md, `message` is for people and may change. Arguments of the wrong type
 * or out of range reject with a `TypeError` whose code is Node's (`ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`).
 */
import type { EventEmitter } from 'node:events'
import type { AddressInfo, Server } from 'node:net'
import type { Duplex } from 'node:stream'

// ---------------------------------------------------------------------------------------------- connect

/** A key as people have it: a path to an OpenSSH key file, or the file's contents. */
export type KeySource = string | Uint8Array

/** When silence means that the peer is gone. Both ends ask, each with its own options. */
export interface AlknetKeepalive {
  /** Milliseconds without a byte from the peer after which it is asked for a sign of life. Default 15 000. */
  interval?: number
  /** Questions without an answer that end the session, with `ERR_ALKNET_SESSION_CLOSED`: half an interval after the last. Default 3. */
  count?: number
}

/**
 * The passphrase of a private key: itself, or a function that is asked for it, once, and only when the key is encrypted. A rejection
 * of the function's promise becomes that of the whole call; the time it takes is not part of `connectTimeout`. The
 * library wipes its own copies. Strings and Buffers of yours are yours to wipe: a Buffer with `fill(0)`, a string not at all.
 */
export type AlknetPassphrase =
  | string
  | Uint8Array
  | ((key: AlknetKeyInfo) => string | Uint8Array | Promise<string | Uint8Array>)

/** What an encrypted private key says of itself. */
export interface AlknetKeyInfo {
  /** `ssh-ed25519`, `ecdsa-sha2-nistp256`, `ssh-rsa`, … */
  algorithm: string
  /** `SHA256:…` of the public key. */
  fingerprint: string
  /** The key's file, if it was given by path. */
  path?: string
}

/**
 * How the bytes of a session travel. `tcp`: plain TCP, as SSH itself does it; default port 22. `tls`: TLS 1.3 over TCP; 443. `ws` and
 * `wss`: binary messages of a WebSocket, on a path of an HTTP or HTTPS server; 80 and 443, path `/alknet` unless the address has
 * one. `iroh`: QUIC from peer to peer, by the peer's key instead of its address, straight or by way of a relay
 * (docs/iroh.md). What they add is a way through: who is at the other end, SSH alone says.
 */
export type AlknetTransport = 'tcp' | 'tls' | 'ws' | 'wss' | 'iroh'

/** A version of TLS. `'1.2'` is for what stands between and knows no better; only AEAD ciphers and ephemeral keys are spoken in it. */
export type AlknetTlsVersion = '1.2' | '1.3'

/** How to reach a server, who it must be, and who logs in. Only `server` and `identity` have no default that works. */
export interface AlknetConnectOptions {
  /**
   * `host:port`, `[v6]:port` or `host` (the default port of the transport), also with the transport in front: `'tls://host'`,
   * `'wss://host/path'`. Several are servers that are as good as each other: they are tried in this order, each for its share of
   * `connectTimeout`, and a session that is lost tries the one that it was with last. Each has a host key of its own, for `hostKeys` or
   * `knownHosts` to name. With several `transport`s there is one for each server.
   * Default: the environment variable `ALKNET_SERVER`, where commas stand between several.
   */
  server?: string | readonly string[]
  /**
   * Endpoint id (`AlknetServer.endpointId`) of a server that is reached by iroh: 64 hex digits, or 52 signs of base32 or z-base-32. Given
   * without `server`, it is the way to go; with `server`, `transport` says which is tried first. Its host key is known by the id.
   */
  peer?: string
  /** Addresses at which the peer is known to be, `'ip:port'` of UDP. Without a relay, at least one. */
  irohAddress?: string | readonly string[]
  /** The relay that the peer is at, `'https://host'`. Default: none, so that no third party learns of the connection. */
  irohRelay?: string
  /**
   * Which addresses of the server's name are taken, or of the first in `jump`: 4 those of IPv4, 6 those of IPv6, 0 (default) all. Not for
   * iroh, nor with `proxy`, which looks names up itself.
   */
  family?: 0 | 4 | 6
  /**
   * How bytes travel. Default `'tcp'`, or `'iroh'` when there is only `peer`. Several are tried in this order, each for its share of `connectTimeout`, until one leads to the
   * server: whether that lets us in is its answer, which no other way would change. `stream.info.transport` says which it was.
   */
  transport?: AlknetTransport | readonly AlknetTransport[]
  /**
   * Private key that logs in, in OpenSSH format (`ssh-keygen -t ed25519`): a path, or the key itself in a Buffer.
   * Default: the environment variable `ALKNET_IDENTITY` (a path). Ed25519, ECDSA, or RSA from 2,048 bits. PEM and PuTTY keys are
   * refused with `ERR_ALKNET_KEY_INVALID` and the command that converts them, and so is a file that others may read.
   */
  identity?: KeySource
  /**
   * OpenSSH certificate of `identity`: a path, or its contents in a Buffer. Default: `IDENTITY-cert.pub` beside the key's file, if it is
   * there, as for `ssh`. A path is read anew for every attempt. What is no user certificate for this key is refused with
   * `ERR_ALKNET_KEY_INVALID`; beside the key it is left out, with a line in the log. The key itself is offered after it.
   */
  certificate?: KeySource
  /** Passphrase of `identity`, if it has one. Without the right one: `ERR_ALKNET_KEY_INVALID`. */
  passphrase?: AlknetPassphrase
  /**
   * Has the keys of an ssh-agent log in instead of `identity`: `true` for the one that `SSH_AUTH_SOCK` names, or the path of its
   * socket. Its first 6 keys are offered in their order; it signs, they stay with it. Default `false`: no agent is asked unless
   * you say so. One that cannot be reached, has no keys or does not sign fails the attempt in phase `auth`.
   */
  agent?: boolean | string
  /** Takes key files whatever their owner and mode: for containers whose mounts cannot have others. Default `false`. */
  insecurePermissions?: boolean
  /** User name to log in as. Default `'alknet'`. */
  user?: string
  /**
   * Where the stream leads: a reserved name of the server, `'host:port'` or `'[v6]:port'` dialled by the server.
   * Default `'alknet-control'`, the stream that `serve()` hands to `onConnection`.
   */
  target?: string
  /**
   * The host keys to accept: `SHA256:…` fingerprints or public keys (`ssh-ed25519 AAAA…`), one or many. When there are any, from
   * here or from a connection string, they alone decide. Without them `knownHosts` does.
   */
  hostKeys?: string | Uint8Array | readonly (string | Uint8Array)[]
  /**
   * `known_hosts` files of OpenSSH to look the server up in: paths, or contents in Buffers. The name looked for is that in `server`
   * (`host`, or `[host]:port` when the port is not 22), never an address it resolves to. Default: `~/.ssh/known_hosts` and
   * `/etc/ssh/ssh_known_hosts`, so that what `ssh` knows is known here. A file that is not there is empty. Beside `hostKeys`
   * it is only asked what it marks as `@revoked`.
   */
  knownHosts?: KeySource | readonly KeySource[]
  /** The name that is looked for in `knownHosts` instead, whatever the server's address and port: `HostKeyAlias` of `ssh`. */
  hostKeyAlias?: string
  /**
   * What becomes of a server of which `knownHosts` has no key. `'strict'` (default): `ERR_ALKNET_HOST_KEY_UNKNOWN`. `'first-use'`:
   * it is accepted and written to the first file of `knownHosts`, hashed, before anything of the log-in is sent; when it cannot be
   * written, the attempt fails. Another key than the known one is refused by either.
   */
  trust?: 'strict' | 'first-use'
  /**
   * A proxy to reach the server through: `socks5://[user:password@]host[:port]` (port 1080) or `http://[user:password@]host[:port]` (CONNECT, port
   * 80). The server's name is left to the proxy, and `remoteAddress` is the proxy's. What has a meaning in a URL is percent-encoded.
   * By iroh it is the relay that is reached through it, and nothing else. Default: none, whatever the environment says. Failures are
   * `ERR_ALKNET_PROXY`; see docs/proxies.md.
   */
  proxy?: string
  /**
   * Servers to go through on the way, in this order, as `ssh -J` does: `'[user@]host[:port]'`, a connection string, or an object for what
   * is not as for the target. Each must lead its clients on (`forwarding` of `serve()`, `AllowTcpForwarding` of sshd). The session
   * to each, checked by its own host key, carries the next; all end with the one they are for, and are made anew when that
   * comes back. With a `proxy`, the first is reached through it. `error.hop` names the one that something was wrong with.
   */
  jump?: string | AlknetJump | readonly (string | AlknetJump)[]
  /**
   * For `tls` and `wss`: the authorities to trust instead of the public ones, as PEM: path or Buffer. They may vouch for the relay of `iroh`
   * too, besides the public ones.
   */
  tlsCa?: KeySource
  /** For `tls` and `wss`: the name that is asked for and that the certificate must have. Default: the host in `server`. */
  tlsServerName?: string
  /** For `tls` and `wss`: the oldest version of TLS that is spoken. Default `'1.3'`. */
  tlsMin?: AlknetTlsVersion
  /** For `tls` and `wss`: takes any certificate. The host key is checked all the same. Default `false`. */
  insecure?: boolean
  /**
   * Limit for the whole of connect: name, TCP, SSH, log-in and channel. Default 20 000. Each server of `jump` may take its share of it:
   * with one, half the time is for that.
   */
  connectTimeout?: number
  /**
   * When silence means that the peer is gone: it is asked after `interval` ms without a byte, and `count` questions
   * without an answer end the session. Default 15 000 and 3; `false` turns it off.
   */
  keepalive?: false | AlknetKeepalive
  /** Ends the attempt; the promise rejects with an `AbortError`. After connect it has no effect. */
  signal?: AbortSignal
  /** As in `net.Socket`, but `true` by default: the write side stays open when the peer has ended its own. */
  allowHalfOpen?: boolean
  /** Bytes the peer may send before they are consumed here, per stream: 262 144 – 16 777 216, default 4 194 304. */
  window?: number
  /** Bytes of one direction after which the session takes new keys: 1 048 576 – 1 073 741 824, the default. */
  rekeyBytes?: number
}

/** A server on the way to another, see `jump`. What it leaves out is as for the target, but for `hostKeys`. */
export interface AlknetJump {
  /** As in {@link AlknetConnectOptions}, also with `user@` in front; or a connection string, which has the host key. */
  server: string
  /** As in {@link AlknetConnectOptions}. Default `'tcp'`. */
  transport?: AlknetTransport | readonly AlknetTransport[]
  /** User name to log in as. Default: that of the target. */
  user?: string
  /** Private key that logs in. Default: what logs in at the target. */
  identity?: KeySource
  /** OpenSSH certificate of `identity`. */
  certificate?: KeySource
  /** Passphrase of `identity`, if it has one. */
  passphrase?: AlknetPassphrase
  /** The host keys to accept, as in {@link AlknetConnectOptions}: of this server, by its own name. */
  hostKeys?: string | Uint8Array | readonly (string | Uint8Array)[]
  /** `known_hosts` files to look this server up in. Default: those of the target. */
  knownHosts?: KeySource | readonly KeySource[]
  /** As in {@link AlknetConnectOptions}, of this server. */
  hostKeyAlias?: string
  /** What becomes of it when `knownHosts` has no key for it. Default: as for the target. */
  trust?: 'strict' | 'first-use'
}

/**
 * Opens one SSH session with one stream on it. The session ends when the stream does.
 *
 * Rejects with (among others) `ECONNREFUSED`, `ENOTFOUND`, `ETIMEDOUT`, `ERR_ALKNET_PROXY`, `ERR_ALKNET_HOST_KEY_UNKNOWN`,
 * `ERR_ALKNET_HOST_KEY_CHANGED`, `ERR_ALKNET_HOST_KEY_REVOKED`, `ERR_ALKNET_AUTH_REJECTED`, `ERR_ALKNET_TOO_MANY_SESSIONS`,
 * `ERR_ALKNET_CHANNEL_REJECTED`, `ERR_ALKNET_HANDSHAKE_TIMEOUT`, `ERR_ALKNET_KEY_INVALID`, `ERR_ALKNET_CONFIG`.
 */
export function connect(options: AlknetConnectOptions): Promise<AlknetStream>
/** The same from a connection string (`AlknetServer.connectionString`), which carries server and host key. */
export function connect(
  connectionString: string,
  options?: AlknetConnectOptions,
): Promise<AlknetStream>

/** Options of {@link openSession}: those of `connect()` less what belongs to one stream. */
export interface AlknetSessionOptions
  extends Omit<AlknetConnectOptions, 'target' | 'allowHalfOpen'> {
  /**
   * Whether a lost session is replaced. Default `true`: at once, then after 1, 2, 4, 8, 16 and always 30 s, each ± 20 %, until
   * `close()`. A server must show the host key that it showed first. `session.remotePort` and the like are of the present one.
   */
  reconnect?: boolean | AlknetReconnectOptions
}

/** How a lost session comes back. */
export interface AlknetReconnectOptions {
  /** Repeats a failed first attempt too, so that `openSession()` waits for the server. Default `false`: it rejects with the reason. */
  fromTheStart?: boolean
  /** The longest pause between attempts. Default 30 000. */
  longestPause?: number
  /** How long `open()` waits for a session, within its own limit, before `ERR_ALKNET_RECONNECTING`. Default 10 000. */
  wait?: number
}

/**
 * Opens an SSH session that carries many streams, and keeps one up. Resolves when it is logged in; rejects like {@link connect}
 * when the first attempt fails.
 */
export function openSession(options: AlknetSessionOptions): Promise<AlknetSession>
/** The same from a connection string, as in {@link connect}. */
export function openSession(
  connectionString: string,
  options?: AlknetSessionOptions,
): Promise<AlknetSession>

/** Options of one {@link AlknetSession.open}. */
export interface AlknetOpenOptions {
  /** Ends the attempt; the promise rejects with an `AbortError`. */
  signal?: AbortSignal
  /** Limit for the server's answer. Default 20 000; then `ETIMEDOUT`. */
  timeout?: number
  /** As in `AlknetConnectOptions`. Default `true`. */
  allowHalfOpen?: boolean
}

/** Options of {@link AlknetSession.forward} and {@link AlknetSession.remoteForward}. */
export interface AlknetForwardOptions {
  /**
   * Where to listen: a port, `'host:port'`, `'[v6]:port'` or the path of a Unix socket, `'/path'`. Port 0 takes a free one. A port
   * alone is on loopback, `'*:port'` and `':port'` are on every address.
   */
  listen: number | string
  /**
   * Where connections lead, as the far side sees it: `'host:port'`, `'[v6]:port'`, a Unix socket, `'/path'`, or `'udp:host:port'`. For
   * UDP `listen` is a UDP port too, what comes from one address is a connection, and the server must be an alknet.
   */
  target: string
  /** Ends the attempt, which rejects with an `AbortError`; later it closes the forward, as `close()` does. */
  signal?: AbortSignal
  /** Connections at once; more are reset. Default 1 024. */
  maxConnections?: number
  /** Removes the file of a Unix socket that nobody listens on (OpenSSH: StreamLocalBindUnlink). For `forward()`. Default `false`. */
  replaceStaleSocket?: boolean
  /** Silence in ms after which a connection of UDP is over, where it comes in. For `forward()`. Default 60 000. */
  udpIdleTimeout?: number
}

/** Options of {@link AlknetSession.socks5}. */
export interface AlknetSocksOptions {
  /** As in {@link AlknetForwardOptions}. Default `'127.0.0.1:1080'`. */
  listen?: number | string
  /** With `password`, who may use the proxy: 1 to 255 bytes, no colon. Default: whoever can connect. */
  username?: string
  /** 1 to 255 bytes. */
  password?: string
  /** As in {@link AlknetForwardOptions}. */
  signal?: AbortSignal
  /** Connections at once; more are refused. Default 1 024. */
  maxConnections?: number
}

/** What a forward has done so far. */
export interface AlknetForwardMetrics {
  /** Bytes from those who connected to the target. */
  bytesUp: number
  /** Bytes from the target to those who connected. */
  bytesDown: number
  /** Connections now. */
  active: number
  /** Connections ever. */
  accepted: number
  /** Of these, refused: the target could not be reached, or there were too many. */
  refused: number
  /** Of these, ended by a failure of one side: reset, or for UDP refused by the target's host. */
  reset: number
  /** Datagrams of UDP that were lost here: they came too fast, or their connection had failed. */
  dropped: number
}

/**
 * A forward of a session. A target that cannot be reached costs the connection that wanted it and no other: that one is reset, and a
 * proxy says why. Open connections are reset when their session is lost; the forward goes on with the next. An end of one
 * direction is passed on as such. It is closed with its session, and keeps the process alive, like `net.Server`, until then
 * or `unref()`.
 */
export interface AlknetForward extends AsyncDisposable {
  /** Which method made it. */
  readonly kind: 'local' | 'remote' | 'socks5'
  /** Addresses listened on, with real ports, as `host:port`; none for a Unix socket. Of a remote forward: what was asked of the server. */
  readonly addresses: readonly string[]
  /** The port of the first address. */
  readonly port: number | undefined
  /** What it has done so far. */
  metrics(): AlknetForwardMetrics
  /** True from the call of `close()` on, its session's included. */
  readonly closed: boolean
  /** Stops listening, resets its connections and resolves when all are gone, 3 s later at most. Idempotent. */
  close(): Promise<void>
  /** Keeps the process alive while the forward listens; the default. */
  ref(): this
  /** Lets the process end although the forward listens. Its session counts for itself. */
  unref(): this
}

/** What an {@link AlknetSession} or {@link AlknetTunnel} emits. */
export interface AlknetSessionEvents {
  /** There is a session again. */
  up: []
  /** The session was lost, for the reason given; another is on its way. */
  down: [error: AlknetError]
  /** It is over for good; `error` says why, when that was no `close()`. */
  close: [error?: AlknetError]
}

/** Counters since `openSession()` or `openTunnel()`. */
export interface AlknetSessionMetrics {
  /** Whether there is a session now. */
  up: boolean
  /** Sessions established, the first one included. */
  sessions: number
  /** Attempts that failed. */
  failedAttempts: number
  /** Streams that are open now. */
  openStreams: number
  /** Streams opened. */
  opened: number
  /** Requests for streams that failed. */
  refused: number
  /** Bytes received on streams. */
  bytesReceived: number
  /** Bytes sent on streams. */
  bytesSent: number
}

/**
 * A supervised SSH session. When it is lost, its streams fail with `ERR_ALKNET_SESSION_CLOSED`, and another session takes its
 * place; `open()` waits for it. It ends by `close()`, or by what no further attempt would mend, such as another host key.
 * After 512 streams, new ones go to a fresh SSH session beside it, so that memory does not grow with what was opened.
 * It keeps the process alive, like a socket, until `close()` or `unref()`.
 */
export interface AlknetSession extends EventEmitter<AlknetSessionEvents>, AsyncDisposable {
  /**
   * Opens a stream. Default target `'alknet-control'`. Rejects with the far end's reason: `ECONNREFUSED`, `ERR_ALKNET_CHANNEL_REJECTED`, …;
   * with `ERR_ALKNET_RECONNECTING` when there was no session in time; with `ERR_ALKNET_SESSION_CLOSED` when there will be none.
   */
  open(target?: string, options?: AlknetOpenOptions): Promise<AlknetStream>
  /**
   * Listens here and leads each connection to a target that the server dials, like `ssh -L`. Resolves once connections can come;
   * while there is no session they wait for the next, `reconnect.wait` at most. Rejects with `EADDRINUSE`, `EACCES`, `EADDRNOTAVAIL`
   * or `ENOTFOUND` (`phase` `'listen'`), `ERR_ALKNET_CONFIG`, `ERR_ALKNET_SESSION_CLOSED`.
   */
  forward(options: AlknetForwardOptions): Promise<AlknetForward>
  /**
   * Has the server listen and leads each connection there to a target dialled from here, like `ssh -R`. Asks every session that
   * follows again, for the same port. Rejects with `ERR_ALKNET_CHANNEL_REJECTED` when the server will not or cannot listen,
   * `ERR_ALKNET_RECONNECTING`, `ERR_ALKNET_CONFIG`, `ERR_ALKNET_SESSION_CLOSED`.
   */
  remoteForward(options: AlknetForwardOptions): Promise<AlknetForward>
  /**
   * Listens here as a SOCKS5 proxy (CONNECT only) and, on the same port, an HTTP CONNECT proxy, like `ssh -D`; names are
   * looked up at the server's end. Rejects like {@link AlknetSession.forward}.
   */
  socks5(options?: AlknetSocksOptions): Promise<AlknetForward>
  /** Ends every forward, every stream and the session. Resolves when all is closed; idempotent. */
  close(): Promise<void>
  /** True from the call of `close()` on, and once it is over for good: `open()` rejects with `ERR_ALKNET_SESSION_CLOSED`. */
  readonly closed: boolean
  /** Whether there is a session now. */
  readonly up: boolean
  /** What the session has done so far. */
  metrics(): AlknetSessionMetrics
  /** Fingerprint (`SHA256:…`) of the host key that the server proved. */
  readonly hostKeyFingerprint: string
  /** Identification string of the peer, for example `SSH-2.0-OpenSSH_9.2p1`. */
  readonly peerVersion: string
  /** IP address of the server. */
  readonly remoteAddress: string | undefined
  /** Port of the server. */
  readonly remotePort: number | undefined
  /** Keeps the process alive while the session is open; the default. Streams count for themselves. */
  ref(): this
  /** Lets the process end although the session is open. */
  unref(): this
}

// ---------------------------------------------------------------------------------------------- tunnel

/** Options of {@link openTunnel}. Only `task` has no default. */
export interface AlknetTunnelOptions {
  /**
   * The host of the tunnel: a name or address, `host:port` (port 8000 when there is none), or a URL, `ws://host:port`, `wss://host`.
   * Default: the environment variable `ALKNET_TUNNEL_HOST`, or `'localhost'`.
   */
  host?: string
  /** The number of the task whose container is meant. */
  task: number | string
  /** What the host wants to be shown, 16 characters or more. Default: the environment variable `ALKNET_TUNNEL_TOKEN`, or none. */
  token?: string
  /** Goes over a network without TLS. Default `false`: `ERR_ALKNET_CONFIG` for what is not `wss://`, but on loopback. */
  insecure?: boolean
  /** For `wss://`: the authorities to trust instead of the public ones, as PEM: path or Buffer. */
  tlsCa?: KeySource
  /** For `wss://`: the name that the certificate must have. Default: that in `host`. */
  tlsServerName?: string
  /** As in {@link AlknetSessionOptions}. A refused token is shown again at the longest pause. Default `true`. */
  reconnect?: boolean | AlknetReconnectOptions
  /** Ends the attempt; the promise rejects with an `AbortError`. Later it has no effect. */
  signal?: AbortSignal
}

/** Options of {@link AlknetTunnel.forward} and {@link AlknetTunnel.udp}. */
export interface AlknetTunnelForwardOptions
  extends Omit<AlknetForwardOptions, 'target' | 'listen'> {
  /** The port in the container. */
  port: number
  /** Where to listen, as in {@link AlknetForwardOptions}. Default 0: a free port on loopback. */
  listen?: number | string
}

/**
 * Begins a session with a container, by way of the host of a tunnel (docs/tunnel.md), and keeps one up. Resolves when the agent in the
 * container is there. Rejects with `ECONNREFUSED`, `ENOTFOUND`, `ETIMEDOUT` or `ERR_ALKNET_TLS` for the host, `ERR_ALKNET_AUTH_REJECTED` for the
 * token, `ERR_ALKNET_CHANNEL_REJECTED` with what the host said (no such task, no agent), `ERR_ALKNET_CONFIG`.
 */
export function openTunnel(options: AlknetTunnelOptions): Promise<AlknetTunnel>

/**
 * A supervised session with a container: any of its ports, without one being published. When it is lost its streams fail, with
 * `ERR_ALKNET_SESSION_CLOSED`, or with `ECONNRESET` when it was the container that went; another session takes its place, and `open()`
 * waits for it. It keeps the process alive, like a socket, until `close()` or `unref()`.
 */
export interface AlknetTunnel extends EventEmitter<AlknetSessionEvents>, AsyncDisposable {
  /**
   * Opens a stream to a TCP port of the container, on 127.0.0.1 or ::1 there. Rejects with the agent's reason: `ECONNREFUSED`, …,
   * `ERR_ALKNET_CHANNEL_REJECTED`; with `ERR_ALKNET_RECONNECTING` when there was no session in time; with `ERR_ALKNET_SESSION_CLOSED` when
   * there will be none. A connection that is reset in the container fails with `ECONNRESET`.
   */
  open(port: number, options?: AlknetOpenOptions): Promise<AlknetStream>
  /** Listens here and leads each connection to a TCP port of the container. Rejects like {@link AlknetSession.forward}. */
  forward(options: AlknetTunnelForwardOptions): Promise<AlknetForward>
  /** The same for UDP: what comes from one address is a connection. */
  udp(options: AlknetTunnelForwardOptions): Promise<AlknetForward>
  /** Ends every forward, every stream and the session. Resolves when all is closed; idempotent. */
  close(): Promise<void>
  /** True from the call of `close()` on, and once it is over for good: `open()` rejects with `ERR_ALKNET_SESSION_CLOSED`. */
  readonly closed: boolean
  /** Whether there is a session now. */
  readonly up: boolean
  /** What the session has done so far. */
  metrics(): AlknetSessionMetrics
  /** Keeps the process alive while the session is open; the default. Streams count for themselves. */
  ref(): this
  /** Lets the process end although the session is open. */
  unref(): this
}

// ---------------------------------------------------------------------------------------------- stream

/** What a stream's two ends know of each other. On the client side `user` and `keyFingerprint` are one's own. */
export interface ConnectionInfo {
  /** IP address of the other end of the session. */
  remoteAddress: string | undefined
  /** Port of the other end of the session. */
  remotePort: number | undefined
  /** How the bytes travel; `tunnel`: to a container, without SSH. */
  transport: AlknetTransport | 'tunnel'
  /** The name the client logged in as. */
  user: string
  /** `SHA256:…` of the client's key. */
  keyFingerprint: string
  /** The certificate that the client logged in with; `undefined` when it was the key alone. */
  certificate: AlknetCertificate | undefined
  /** Identification string of the other end, for example `SSH-2.0-alknet_0`. */
  peer: string
  /** What the client asked for. */
  target: string
  /** Hex; the same on both ends and on every stream of one session, different between sessions. */
  sessionId: string
}

/** What an OpenSSH user certificate says of itself. */
export interface AlknetCertificate {
  /** Its name in the authority's books (`ssh-keygen -I`). */
  id: string
  /** Its number there (`ssh-keygen -z`), decimal; `'0'` when the authority does not count. */
  serial: string
  /** The names it stands for (`ssh-keygen -n`). */
  principals: string[]
  /** `SHA256:…` of the authority's key. */
  caFingerprint: string
}

/**
 * A byte stream to the other end: a `Duplex` with the members of `net.Socket` that Node programs use.
 *
 * `end()` half-closes: the peer sees `'end'` and may go on sending. `'finish'` and the callback of `end()` come once all bytes and
 * the end are with the operating system; a process should end only after `'close'`. `destroy()` ends both directions at once; the peer,
 * if it is an alknet, sees `ECONNRESET`, unless it has read the end already. Bytes that arrived before a loss are
 * delivered first.
 *
 * Fails (`'error'`) with `ERR_ALKNET_SESSION_CLOSED` when the session is lost, `ECONNRESET` when the peer abandoned the stream, and
 * `EPIPE` when written to after the peer had closed it.
 *
 * Each open stream keeps the process alive, like a socket, unless `unref()` was called.
 */
export interface AlknetStream extends Duplex {
  /** Who is at the other end. */
  readonly info: ConnectionInfo
  /** IP address of the other end of the session, not of the target behind it. */
  readonly remoteAddress: string | undefined
  /** Port of the other end of the session. */
  readonly remotePort: number | undefined
  /** `'IPv4'` or `'IPv6'`. */
  readonly remoteFamily: string | undefined
  /** IP address of this end of the session. */
  readonly localAddress: string | undefined
  /** Port of this end of the session. */
  readonly localPort: number | undefined
  /** `'IPv4'` or `'IPv6'`. */
  readonly localFamily: string | undefined
  /** Bytes that have arrived here so far. */
  readonly bytesRead: number
  /** Bytes taken for sending so far. At most 1 048 576 of them are not sent yet. */
  readonly bytesWritten: number
  /** Bytes written that are not yet taken for sending: `writableLength`. */
  readonly bufferSize: number
  /** Always false: a stream is open when you get it. */
  readonly connecting: boolean
  /** Always false: a stream is open when you get it. */
  readonly pending: boolean
  /** Always empty: no addresses were tried. Kept so that a stream passes for a `net.Socket` in TypeScript. */
  readonly autoSelectFamilyAttemptedAddresses: string[]
  /** `null`, unless a server that the stream was given to, such as `node:http`'s, has put itself here. */
  readonly server: Server | null
  /** Which directions are open. */
  readonly readyState: 'open' | 'readOnly' | 'writeOnly' | 'closed'
  /** What {@link AlknetStream.setTimeout} was given, in ms. */
  readonly timeout: number | undefined
  /** This end of the session as in `net.Socket`; `{}` when it has no address. */
  address(): AddressInfo | Record<string, never>
  /** Emits `'timeout'` after `ms` without a byte either way; 0 turns it off. The stream stays open. */
  setTimeout(ms: number, callback?: () => void): this
  /** Kept for `net.Socket` users: the transport never delays small writes. */
  setNoDelay(noDelay?: boolean): this
  /** Kept for `net.Socket` users: the session has its own keepalive. */
  setKeepAlive(enable?: boolean | object, initialDelay?: number): this
  /** Ends the writable side, then destroys the stream once all is sent. */
  destroySoon(): void
  /** Destroys the stream; the peer sees a reset rather than an end. */
  resetAndDestroy(): this
  /** Always 0. Kept for `net.Socket` users: the packets of one session carry many streams. */
  getTypeOfService(): number
  /** Does nothing, see {@link AlknetStream.getTypeOfService}. */
  setTypeOfService(value: number): this
  /**
   * Kept for drivers that connect their socket themselves: emits `'connect'` and `'ready'`, whatever the arguments; a function
   * among them, the last, hears `'connect'`. The stream leads where it was opened to.
   */
  connect(...args: unknown[]): this
  /** Keeps the process alive while the stream is open; the default. */
  ref(): this
  /** Lets the process end although the stream is open. */
  unref(): this
}

// ---------------------------------------------------------------------------------------------- serve

/** Where to listen, as whom, and who may log in. Only `authorizedKeys` (or `certAuthority`) has no default. */
export interface AlknetServeOptions {
  /**
   * Addresses to listen on, as in `AlknetConnectOptions.server`, of UDP for iroh. Default `'0.0.0.0'`; port 0 takes a free one, see
   * `AlknetServer.addresses`. By every transport where there is one address; by one each, in their order, where there are as many.
   */
  listen?: string | readonly string[]
  /** How bytes travel. Default `'tcp'`. */
  transport?: AlknetTransport | readonly AlknetTransport[]
  /**
   * Iroh: path of the Ed25519 key whose public half is the endpoint id. Made, 0600, when it is not there. Without it a fresh key is made
   * in memory, and so another id at each start. On Unix, one server of a machine at a time: `EADDRINUSE` for a second.
   */
  irohKey?: string
  /** Iroh: a relay by which the server can be reached too, `'https://host'`. Default: none. */
  irohRelay?: string
  /** Iroh: authorities that may vouch for the relay's certificate besides the public ones, as PEM: path or Buffer. */
  tlsCa?: KeySource
  /**
   * Host private key, OpenSSH format: path or Buffer. Without it a fresh Ed25519 key is made in memory. Ed25519, ECDSA, or
   * RSA from 3,072 bits; a file must be readable by its owner only.
   */
  hostKey?: KeySource
  /** Passphrase of `hostKey`, if it has one. Without the right one: `ERR_ALKNET_KEY_INVALID`. */
  hostKeyPassphrase?: AlknetPassphrase
  /**
   * Who may log in: path of an `authorized_keys` file, or its contents in a Buffer, with all options of sshd(8); see docs/keys.md.
   * A file must not be writable by others, and is read again when it has changed. Without any key, here or in `certAuthority`,
   * `serve()` rejects with `ERR_ALKNET_CONFIG`.
   */
  authorizedKeys?: KeySource
  /**
   * Authorities whose user certificates may log in: path or Buffer with lines like those of `authorizedKeys`, options included, with or
   * without `cert-authority`. A file is watched like that of `authorizedKeys`.
   */
  certAuthority?: KeySource
  /**
   * What may not log in whatever the other two say: path or Buffer with lines that have a public key (of a user or an authority),
   * `SHA256:…`, `serial: N`, `serial: N-M` or `id: NAME` of a certificate, or with the binary list that `ssh-keygen -k` makes of such lines.
   * What is not understood is `ERR_ALKNET_KEY_INVALID`. A file is watched like that of `authorizedKeys`, and open sessions of what is revoked are closed.
   */
  revokedKeys?: KeySource
  /**
   * OpenSSH certificate of `hostKey`: path or Buffer. Shown to clients that have a `@cert-authority` line for this host; the others see
   * the plain key.
   */
  hostCertificate?: KeySource
  /** As in `AlknetConnectOptions`, for `hostKey`, `authorizedKeys`, `certAuthority` and `revokedKeys`. */
  insecurePermissions?: boolean
  /** For `tls` and `wss`: the certificate and those that vouch for it, its own first, as PEM. A changed file takes effect within a minute. */
  tlsCert?: KeySource
  /** For `tls` and `wss`: the certificate's private key, as PEM. A file must be readable by its owner only. */
  tlsKey?: KeySource
  /** For `tls` and `wss`: the oldest version of TLS that is spoken. Default `'1.3'`. */
  tlsMin?: AlknetTlsVersion
  /**
   * For `tls` and `wss`, instead of `tlsCert` and `tlsKey`: names for which an authority that speaks ACME (RFC 8555) issues the certificate. The
   * server gets it while it listens, and renews it; see `AlknetServer.acme` for how that stands. The authority connects to port 443
   * of each name (TLS-ALPN-01), which must lead to a `tls` or `wss` listener of this server. To use it is to agree to the authority's terms of service.
   */
  acmeDomain?: string | readonly string[]
  /** URL of the authority's directory. Default: that of Let's Encrypt. */
  acmeDirectory?: string
  /**
   * Folder for the account and the certificates, made for its owner alone; what is there is used by the next server. Default: `acme` in
   * `$ALKNET_HOME`, else in `$XDG_STATE_HOME/alknet`, else in `~/.local/state/alknet`.
   */
  acmeCache?: string
  /** What vouches for the authority's own server instead of the public authorities, as PEM: path or Buffer. */
  acmeCa?: KeySource
  /** Where the authority may write to: an address of mail. Default: none. */
  acmeContact?: string
  /**
   * For `tls` and `wss`: who does not begin like an SSH client sees a web server that has no pages. Hides the service from who only looks;
   * not from who compares times, nor that there is a server. Default `false`.
   */
  stealth?: boolean
  /** For `ws` and `wss`: names by which clients may call the server, without ports. Default: any. */
  wsHosts?: readonly string[]
  /** For `ws` and `wss`: origins (`https://app.example`) whose web pages may connect. Programs send none, and may. Default: none. */
  wsOrigins?: readonly string[]
  /** Stops the server, as `close()` does. */
  signal?: AbortSignal
  /** As in `AlknetConnectOptions`. */
  keepalive?: false | AlknetKeepalive
  /** As in `AlknetConnectOptions`. */
  window?: number
  /** As in `AlknetConnectOptions`. */
  rekeyBytes?: number
  /** As in `AlknetConnectOptions`, for accepted streams. */
  allowHalfOpen?: boolean
  /** What strangers and clients may use up. */
  limits?: AlknetLimits
  /**
   * Whether clients' streams may lead elsewhere (`ssh -L`, `-D`, `-W`), and whether the server listens for them (`ssh -R`).
   * Default `false`: neither. `true` is {@link AlknetForwardPolicy} with its defaults. What `authorizedKeys` forbids a key stays forbidden.
   */
  forwarding?: boolean | AlknetForwardPolicy
  /**
   * A proxy that clients' streams to TCP targets are dialled through, as in `AlknetConnectOptions`. It looks names up, so `publicOnly`
   * cannot be had with it; see docs/proxies.md.
   */
  proxy?: string
  /**
   * Bridges every stream that clients open to an in-process bus of events, of which `server.bus` is the program's own end; then
   * `onConnection` gets none. Default `false`. `true` is {@link AlknetBusOptions} with its defaults. See docs/events.md.
   */
  bus?: boolean | AlknetBusOptions
  /**
   * Address (`'127.0.0.1:9464'`) at which counters are served for Prometheus, over HTTP at `/metrics` and to whoever can connect.
   * Port 0 takes a free one, see `AlknetServer.metricsAddress`. Default: none.
   */
  metrics?: string
}

/** What a client wants to do with a topic. */
export type AlknetBusAction = 'publish' | 'subscribe'

/** What a server's bus is like. */
export interface AlknetBusOptions {
  /**
   * Whether a client may do `action` with `topic`, asked once for each and session, after the rules of its key
   * (`permitpublish`, `permitsubscribe`; docs/keys.md). The client alone waits for the answer; a rejection is a no, and
   * uncaught. Default: whatever the key may.
   */
  authorize?(
    info: ConnectionInfo,
    action: AlknetBusAction,
    topic: string,
  ): boolean | Promise<boolean>
  /**
   * Addresses of NATS, of one cluster: `'nats://host:4222'`, `'nats://user:password@host:4222'`, `'tls://…'`. All servers with a bus over it are
   * one bus. `serve()` rejects when none of them answers: `ECONNREFUSED`, `ENOTFOUND`, `ETIMEDOUT`, `EACCES`. Default: this server alone.
   */
  nats?: string | readonly string[]
  /**
   * With `nats`, which then needs JetStream: topics whose events are kept for who is away. Subscribers get them with a number, `event.seq`; a
   * target on a session goes on where it was, and `subscribe(topic, { since })` where it says. Kept are 24 hours and 1 GiB of each, in three
   * copies if NATS is a cluster. See docs/events.md. Default: none.
   */
  durable?: string | readonly string[]
  /** The longest frame, who it is from included. Default 1 048 576, at most 67 108 864. */
  maxFrame?: number
  /** Bytes that may wait for one subscriber before it is closed. Default 3 145 728; its stream holds up to 1 048 576 besides. */
  maxQueue?: number
  /** Topics that one stream may be subscribed to. Default 1 024. */
  maxSubscriptions?: number
  /** Events that one stream may publish in a second; then it is slowed down to that. Default: as many as it can. */
  maxRate?: number
}

/** Options of {@link AlknetBus.join}. */
export interface AlknetJoinOptions {
  /**
   * From whom the member's events are, whatever it writes. Default: the key that opened the stream, if `onConnection` gave it; of a session
   * the server's host key; else nobody, as if they were the program's own.
   */
  from?: string
  /** With a session: where its streams lead. Default `'alknet-control'`. */
  target?: string
}

/** A bus without a server: whoever has a stream to it, and whichever end dialled that, may be a member. See docs/events.md. */
export interface AlknetBus extends AsyncDisposable {
  /** The program's own end, as {@link AlknetServer.bus}; it may everything. */
  readonly target: AlknetEventTarget
  /**
   * Makes the other end of a stream a member, which takes the stream over; or that of a session's streams, one after the other. Resolves
   * when it is one no longer; rejects when the session has failed, and with `ERR_ALKNET_CONFIG` on a closed bus.
   */
  join(member: Duplex | AlknetSession, options?: AlknetJoinOptions): Promise<void>
  /** What it has done so far. */
  metrics(): AlknetBusMetrics
  /** Ends the streams of all members. Idempotent. */
  close(): Promise<void>
}

/**
 * Makes a bus that hangs on no server. It does not keep the process alive; its members' streams do. Rejects like `serve()` for what concerns
 * the bus.
 */
export function createAlknetBus(options?: AlknetBusOptions): Promise<AlknetBus>

/** Counters of a server's bus since `serve()`; the first three are of now. */
export interface AlknetBusMetrics {
  /** Streams that are bridged, the program's own included. */
  members: number
  /** Topics that somebody is subscribed to. */
  topics: number
  /** Subscriptions. */
  subscriptions: number
  /** Events that came. */
  published: number
  /** Events that came from other servers. */
  received: number
  /** Events handed to subscribers, each subscriber counted. */
  delivered: number
  /** Events that came when nobody was subscribed to them. */
  unheard: number
  /** Events that a subscriber had not taken when it was closed for being slow. */
  droppedSlowConsumer: number
  /** Events that a subscriber had not taken when it went away. */
  droppedGone: number
  /** Events that could not be sent to other servers, or not be taken from them fast enough. */
  droppedCluster: number
  /** Events that their publisher may not publish. */
  droppedNotPermitted: number
  /** Frames that are no events. */
  droppedInvalid: number
  /** Events that are too long once it is written into them who they are from. */
  droppedTooLarge: number
  /** Subscriptions that were refused. */
  refusedSubscriptions: number
}

/** Counters of a server. */
export interface AlknetServerMetrics {
  /** Of its bus, if it has one. */
  bus?: AlknetBusMetrics
}

/**
 * What a server offers of forwards. Whatever it says, these are no targets: addresses of no host, multicast, port 0 and the
 * server's own listeners. What is not offered is refused with `ERR_ALKNET_CHANNEL_REJECTED`, before anything is dialled.
 */
export interface AlknetForwardPolicy {
  /** Streams to TCP addresses. Default `true`. */
  tcp?: boolean
  /** Connections of UDP, of alknet clients. Default `true`. */
  udp?: boolean
  /** Streams to Unix sockets, with the rights of this process. Default `false`. */
  unix?: boolean
  /** Link-local addresses as targets, and the metadata services of clouds. Default `false`. */
  linkLocal?: boolean
  /** No targets but public addresses: neither this machine nor its own networks. Default `false`. */
  publicOnly?: boolean
  /** Listeners for clients: on loopback, with ports from 1024. Default `false`. */
  remote?: boolean
  /** These may be on any address (OpenSSH: GatewayPorts). Default `false`. */
  gatewayPorts?: boolean
}

/**
 * Bounds of a server. What goes beyond is refused, what was there stays. Whole numbers from 1.
 *
 * A source is an IPv4 address or an IPv6 network of 64 bits. A connection that is refused before log-in is closed at once, without an
 * answer; the reason is in the server's log.
 */
export interface AlknetLimits {
  /** From accept to logged in, ms. Default 20 000. The client's first line has 5 s at most. */
  loginTimeout?: number
  /** Refused log-in attempts per connection, keys that are only offered included, as in sshd. Default 6. */
  maxAuthAttempts?: number
  /** Keys that a connection may show, good ones included. Default 20. */
  maxOfferedKeys?: number
  /** Connections that have not logged in yet: so many over TCP, and so many by iroh. Default 256. */
  maxUnauthenticated?: number
  /**
   * From so many of these on, new ones are refused at random, 30 % at first and all at `maxUnauthenticated`: a flood then leaves
   * a chance to the others. Default 64.
   */
  earlyDrop?: number
  /** Connections that have not logged in yet, from one source. Default 10. */
  maxUnauthenticatedPerSource?: number
  /** Connections that one source may begin in a second; those that log in do not count. Default 20. */
  maxHandshakesPerSource?: number
  /** Connections of one source, logged in or not. Default 4 096, as many as there are sessions. */
  maxConnectionsPerSource?: number
  /** Sessions that have logged in. Default 4 096. */
  maxSessions?: number
  /** Sessions that have logged in with one key. Default 64. */
  maxSessionsPerKey?: number
  /** Open streams of all sessions. Default 16 384. */
  maxChannels?: number
  /** Open streams per session. Default 1 024. */
  maxChannelsPerSession?: number
  /** Accepted streams that wait for a listener. Default 128. */
  maxPending?: number
  /** Of these, from one session. Default 128. */
  maxPendingPerSession?: number
  /** Streams refused to one session in a second; beyond, that session alone is slowed down. Accepted ones are not limited. Default 200. */
  maxRefusedOpens?: number
  /** Requests for remote forwards of one session in a second; beyond, that session alone is slowed down. Default 50. */
  maxRequests?: number
  /**
   * Iroh: how long a server may have neither its relay nor a connection before its endpoint is built anew, with the same id and port, ms.
   * Each time that did not help it is twice as long, up to ten times as long in all. Default 60 000.
   */
  relayTimeout?: number
  /** What connections that do not log in cost their source. Default as in {@link AlknetPenalties}; `false` costs nothing. */
  penalties?: false | AlknetPenalties
  /**
   * Addresses and networks (`192.0.2.7`, `2001:db8::/32`) to which no bound per source and no penalty applies: a proxy, a
   * health check. Default none.
   */
  exempt?: readonly string[]
}

/**
 * Times, in ms, for which a source is to be refused; those of one source add up. They take effect once the sum comes to
 * `threshold`, and until it has run out. 65 536 sources are remembered. 0 is no penalty.
 */
export interface AlknetPenalties {
  /** For trying to log in in vain. Default 5 000. */
  authFailed?: number
  /** For going away without having tried. Default 1 000. */
  noAuth?: number
  /** For not logging in in time. Default 10 000. */
  timedOut?: number
  /** For breaking the protocol before log-in. Default 30 000. */
  malformed?: number
  /** Below this sum nothing is refused. Default 15 000. */
  threshold?: number
  /** The sum grows no further. Default 600 000. */
  longest?: number
}

/** What an {@link AlknetServer} emits. */
export interface AlknetServerEvents {
  /** A client opened a stream. */
  connection: [stream: AlknetStream, info: ConnectionInfo]
  /** What `AlknetServer.acme` says has changed. */
  acme: [status: AlknetAcmeStatus]
  /** What `AlknetServer.relay` says has changed. */
  relay: [status: AlknetRelayStatus]
  /** The server and all its sessions are closed, once. */
  close: []
}

/** How a certificate by ACME stands. */
export interface AlknetAcmeStatus {
  /** The names that it is for. */
  domains: string[]
  /** When the certificate that is shown ends; `undefined` before the first one has come. */
  validUntil: Date | undefined
  /** When the next attempt is made, for the first certificate or a renewal. */
  nextAttempt: Date | undefined
  /**
   * Why the last attempt failed; `undefined` once one has succeeded. `ERR_ALKNET_TLS` with what the authority said, or a code of the way
   * there, such as `ECONNREFUSED`. The certificate that was there is shown on.
   */
  error: AlknetError | undefined
}

/** How the relay of a server that listens by iroh stands. */
export interface AlknetRelayStatus {
  /** `options.irohRelay`. */
  url: string
  /** Whether the server is connected to it, so that peers find it there. */
  connected: boolean
  /** How often the endpoint was built anew because it had neither the relay nor a peer, see `limits.relayTimeout`. */
  rebuilt: number
  /** Why it is not connected, as far as that is known: `EHOSTUNREACH`. `undefined` while it is. */
  error: AlknetError | undefined
}

/**
 * A listening server. Streams come by `onConnection`, by the `'connection'` event or by `for await`; those that arrive earlier
 * wait, in order, up to `limits.maxPending`. A waiting iterator and the listeners all get the same stream. It keeps the process alive, like `net.Server`, until `close()` or `unref()`.
 */
export interface AlknetServer extends EventEmitter<AlknetServerEvents>, AsyncDisposable {
  /** The same as `on('connection', listener)`. */
  onConnection(listener: (stream: AlknetStream, info: ConnectionInfo) => void): this
  /**
   * Reads `authorizedKeys` again, and nothing else; a file that has changed is also read at the next log-in. Sessions whose key may no
   * longer log in (it is gone, it has expired, it is not for their address) are told so and closed within 5 s. Rejects when the
   * list cannot be used (`ERR_ALKNET_KEY_INVALID`, `ERR_ALKNET_CONFIG`, `ENOENT`, …): the old keys stay.
   */
  reload(): Promise<void>
  /**
   * The server's bus as an event target, the same at each call; `undefined` without `options.bus`. What it dispatches goes to all who
   * are subscribed, itself included; it may everything. It is closed with the server.
   */
  readonly bus: AlknetEventTarget | undefined
  /** How the certificate of `options.acmeDomain` stands; `undefined` without it. The event `'acme'` tells of changes. */
  readonly acme: AlknetAcmeStatus | undefined
  /** How the relay of `options.irohRelay` stands; `undefined` without it, or without iroh. The event `'relay'` tells of changes. */
  readonly relay: AlknetRelayStatus | undefined
  /** What the server has done so far. */
  metrics(): AlknetServerMetrics
  /** Where counters are served for Prometheus, as `host:port`; `undefined` without `options.metrics`. */
  readonly metricsAddress: string | undefined
  /** Lines of `authorizedKeys` that are not used, and why: `authorized_keys line 3: option 1 is not known`. */
  readonly warnings: readonly string[]
  /** Addresses listened on, with real ports, as `host:port`. */
  readonly addresses: readonly string[]
  /** Iroh: what a client gives as `peer`, 64 hex digits. */
  readonly endpointId: string | undefined
  /** `SHA256:…` of the host key: what a client pins in `hostKeys`. */
  readonly hostKeyFingerprint: string
  /** The host's public key, `ssh-ed25519 AAAA…`. */
  readonly hostKey: string
  /** `alknet://…`: everything a client needs but its own key. */
  readonly connectionString: string
  /** False from the call of `close()` on. */
  readonly listening: boolean
  /** Stops listening, ends every session and resolves when all is closed. Idempotent. */
  close(): Promise<void>
  /** Keeps the process alive while the server listens; the default. */
  ref(): this
  /** Lets the process end although the server listens. */
  unref(): this
  /** Streams as they come, until the server is closed. Leaving the loop leaves the server listening. */
  [Symbol.asyncIterator](): AsyncIterableIterator<AlknetConnection>
}

/** One accepted stream and who is at its other end. */
export interface AlknetConnection {
  /** The stream, open. */
  stream: AlknetStream
  /** The same as `stream.info`. */
  info: ConnectionInfo
}

/**
 * Starts a server. With `irohRelay`, peers find it there as soon as this resolves; a relay that does not answer holds it up for 3 s, and is
 * tried further, see `AlknetServer.relay`. Rejects with `EADDRINUSE`, `EACCES`, `ERR_ALKNET_KEY_INVALID`, `ERR_ALKNET_CONFIG`.
 */
export function serve(options: AlknetServeOptions): Promise<AlknetServer>

// ---------------------------------------------------------------------------------------------- forwarders

/** What a forwarder in the background is for. */
export interface AlknetForwarderOptions {
  /** Default `'127.0.0.1'`. `'*'` is every address. */
  listenHost?: string | undefined
  /** Default 3845. 0 takes a free one: see `listenPort` of the result. */
  listenPort?: number | undefined
  /** Default `'127.0.0.1'`; with `server`, as that one sees it. */
  targetHost?: string | undefined
  /** Default 3456. */
  targetPort?: number | undefined
  /** What to call it besides its port: letters, digits, `-` and `_`, not a number. */
  name?: string | undefined
  /** End one of that port or name that does something else first. Default false: `ERR_ALKNET_FORWARDER_EXISTS`. */
  replace?: boolean | undefined
  /** Milliseconds, in whole seconds, that open connections have when it is stopped. Default 2 000. */
  drainTimeout?: number | undefined
  /** Connections at once; more are refused. Default 1 024. */
  maxConnections?: number | undefined
  /** Milliseconds, in whole seconds, of silence after which a connection is reset. Default 0: never. */
  idleTimeout?: number | undefined
  /** Through this SSH server, `host[:port]` or `alknet://…`; without it straight from this machine. */
  server?: string | undefined
  /** Who logs in there. Default: the user of the system. */
  user?: string | undefined
  /** Path of the private key that logs in. */
  identity?: string | undefined
  /** Path of a file with its passphrase. */
  passphraseFile?: string | undefined
  /** Host keys to accept: `SHA256:…` or public keys. */
  hostKeys?: string | string[] | undefined
  /** Paths of known_hosts files. */
  knownHosts?: string | string[] | undefined
  /** Milliseconds, in whole seconds, to reach the server, and the target of each connection. Default 20 000. */
  connectTimeout?: number | undefined
  /** Gives the start up. */
  signal?: AbortSignal | undefined
}

/** A forwarder in the background. */
export interface AlknetForwarder {
  /** Its name, else its port. */
  id: string
  /** `'running'`: its worker lives. `'dead'`: it was killed, crashed, or the machine was restarted. `'stopped'`: there is none. */
  status: 'running' | 'dead' | 'stopped'
  /** The name that it was given. */
  name: string | undefined
  /** The server that it goes by way of; `undefined` when it dials its target itself. */
  server: string | undefined
  /** Its process, when it runs. */
  pid: number | undefined
  /** The address it listens on, as it was asked for. */
  listenHost: string
  /** The real port. */
  listenPort: number | undefined
  /** The host that its connections are led to. */
  targetHost: string
  /** That host's port. */
  targetPort: number
  /** When its worker began, if it runs or died. */
  startedAt: Date | undefined
  /** Milliseconds; the rest too is of one that runs. */
  uptime: number | undefined
  /** The file that its log goes to. */
  logFile: string
  /** The file that says what it is. */
  stateFile: string
  /** Connections since it started. */
  connections:
    | {
        /** Open now. */
        active: number
        /** All that came. */
        accepted: number
        /** Of these, those whose target could not be reached, or that were too many. */
        refused: number
      }
    | undefined
  /** Bytes carried since it started. */
  bytes:
    | {
        /** To the target. */
        up: number
        /** From the target. */
        down: number
      }
    | undefined
  /** The code of the last failure to reach the target. */
  lastError: string | undefined
  /** Whether the last attempt to reach the target succeeded, once there was one. */
  targetReachable: boolean | undefined
}

/**
 * Forwarders in the background: processes that outlive this one, the same that `alknet forward` starts and shows. A forwarder is
 * named by its port or name. Unix only; elsewhere `ERR_ALKNET_CONFIG`.
 */
export interface AlknetForwarders {
  /**
   * Starts one, or finds it running already. Resolves when its port can be used; rejects with why it cannot: `EADDRINUSE`,
   * `ERR_ALKNET_FORWARDER_EXISTS`, what {@link connect} rejects with, or what is wrong with its files (`ENOSPC`, `ERR_ALKNET_CONFIG`).
   */
  start(options?: AlknetForwarderOptions): Promise<AlknetForwarder>
  /** All that run or died. `check` dials each target first. */
  list(options?: { check?: boolean | undefined }): Promise<AlknetForwarder[]>
  /** How one stands; of one that is not, `status` is `'stopped'`. */
  status(
    which: number | string,
    options?: { check?: boolean | undefined },
  ): Promise<AlknetForwarder>
  /** Ends one when what is open has drained; with `force` it is killed after half a second. Of none there is nothing to end. */
  stop(which: number | string, options?: { force?: boolean | undefined }): Promise<void>
  /** Kills one. */
  kill(which: number | string): Promise<void>
  /** The last lines of its log; 100 by default. Rejects with `ERR_ALKNET_FORWARDER_NOT_FOUND`. */
  logs(which: number | string, options?: { lines?: number | undefined }): Promise<string[]>
}

/** See {@link AlknetForwarders}. */
export const forwarders: AlknetForwarders

// ---------------------------------------------------------------------------------------------- errors

/** Codes of alknet itself. Facts of the system keep Node's codes (`ECONNREFUSED`, `ENOTFOUND`, `ETIMEDOUT`, …). */
export type AlknetErrorCode =
  | 'ERR_ALKNET_CONFIG'
  | 'ERR_ALKNET_KEY_INVALID'
  | 'ERR_ALKNET_AUTH_REJECTED'
  | 'ERR_ALKNET_TOO_MANY_SESSIONS'
  | 'ERR_ALKNET_HOST_KEY_UNKNOWN'
  | 'ERR_ALKNET_HOST_KEY_CHANGED'
  | 'ERR_ALKNET_HOST_KEY_REVOKED'
  | 'ERR_ALKNET_PROXY'
  | 'ERR_ALKNET_TLS'
  | 'ERR_ALKNET_HANDSHAKE_TIMEOUT'
  | 'ERR_ALKNET_CHANNEL_REJECTED'
  | 'ERR_ALKNET_SESSION_CLOSED'
  | 'ERR_ALKNET_RECONNECTING'
  | 'ERR_ALKNET_PROTOCOL'
  | 'ERR_ALKNET_FRAME_TOO_LARGE'
  | 'ERR_ALKNET_FRAME_INVALID'
  | 'ERR_ALKNET_SLOW_CONSUMER'
  | 'ERR_ALKNET_FORWARDER_EXISTS'
  | 'ERR_ALKNET_FORWARDER_NOT_FOUND'
  | 'ERR_ALKNET_BINDING_NOT_FOUND'

/** Where an attempt was when it failed. */
export type AlknetPhase =
  | 'config'
  | 'dns'
  | 'tcp'
  | 'tls'
  | 'upgrade'
  | 'kex'
  | 'hostkey'
  | 'auth'
  | 'channel'
  | 'stream'
  | 'listen'

/** What promises of alknet reject with and streams fail with; docs/errors.md has cause and fix of each code. */
export class AlknetError extends Error {
  /** For tests and wrappers: alknet makes its own. */
  constructor(code: string, message: string, details?: AlknetErrorDetails)
  /** One of {@link AlknetErrorCode}, which editors complete, or a system code such as `ECONNREFUSED`. */
  readonly code: AlknetErrorCode | (string & Record<never, never>)
  /** How far the attempt got. */
  readonly phase?: AlknetPhase
  /** What to do about it, when that is known. */
  readonly hint?: string
  /** System codes: what failed, such as `'connect'`, `'getaddrinfo'`, `'open'`. */
  readonly syscall?: string
  /** System codes: the host, address or path that it was about. */
  readonly address?: string
  /** System codes: the port that it was about. */
  readonly port?: number
  /** Host key errors: the fingerprint the server showed. */
  readonly fingerprint?: string
  /** With `jump`: the server on the way at which it failed, as `host:port`. Absent when that was the target. */
  readonly hop?: string
  /** Channel refusals: the server's reason. `ERR_ALKNET_PROXY`: the proxy's. */
  readonly reason?: 'prohibited' | 'connect-failed' | 'unknown-type' | 'resource-shortage'
}

/** The properties of an {@link AlknetError} beside `code` and `message`; it has those that are given. */
export interface AlknetErrorDetails {
  /** `error.cause`. */
  cause?: unknown
  /** {@link AlknetError.phase} */
  phase?: AlknetPhase
  /** {@link AlknetError.hint} */
  hint?: string
  /** {@link AlknetError.syscall} */
  syscall?: string
  /** {@link AlknetError.address} */
  address?: string
  /** {@link AlknetError.port} */
  port?: number
  /** {@link AlknetError.fingerprint} */
  fingerprint?: string
  /** {@link AlknetError.hop} */
  hop?: string
  /** {@link AlknetError.reason} */
  reason?: 'prohibited' | 'connect-failed' | 'unknown-type' | 'resource-shortage'
}

// ---------------------------------------------------------------------------------------------- events

/** What travels for one event: UTF-8 JSON behind a 4-byte big-endian length. `type`, `id` and `payload` are always there. */
export interface EventEnvelope<TType extends string = string, TPayload = unknown> {
  /** What happened. Types that start with `__` are alknet's own. */
  type: TType
  /** What it belongs to: a request id, a topic id, or `''`. */
  id: string
  /** Any JSON. */
  payload: TPayload
  /**
   * `SHA256:…` of the key of whoever sent it, as the server knows it from the log-in. Absent when the server's program sent it, and
   * on streams whose ends know each other. What a sender writes here counts for nothing on a server.
   */
  from?: string
  /** Of a topic whose events the bus keeps (`AlknetBusOptions.durable`): its number there, for `since`. Numbers of a topic only grow. */
  seq?: number
}

/** A `CustomEvent` with a narrowed `type` and `detail`; the same as in `@graphql-yoga/typed-event-target`. */
export type TypedEvent<TType extends string = string, TDetail = unknown> = Omit<
  CustomEvent<TDetail>,
  'detail' | 'type'
> & {
  /** What happened. */
  type: TType
  /** What goes with it. */
  detail: TDetail
}

/** What listeners of an {@link AlknetEventTarget} get. */
export interface AlknetEvent<TType extends string = string, TDetail = unknown>
  extends TypedEvent<TType, TDetail> {
  /** As in {@link EventEnvelope}. */
  readonly from?: string
  /** As in {@link EventEnvelope}. */
  readonly seq?: number
}

/** A listener that is a function. */
export type TypedEventListener<TEvent extends TypedEvent> = (event: TEvent) => void

/** A listener that is an object. */
export interface TypedEventListenerObject<TEvent extends TypedEvent> {
  /** Called with each event. */
  handleEvent(event: TEvent): void
}

/** What `addEventListener` takes. */
export type TypedEventListenerOrEventListenerObject<TEvent extends TypedEvent> =
  | TypedEventListener<TEvent>
  | TypedEventListenerObject<TEvent>

/** Options of `addEventListener`, as on the platform. */
export interface TypedEventListenerOptions {
  /** Tells listeners apart on removal; there are no phases here. */
  capture?: boolean
  /** Removes the listener before its first call. */
  once?: boolean
  /** `preventDefault()` has no effect in this listener. */
  passive?: boolean
  /** Removes the listener when aborted. */
  signal?: AbortSignal
}

/** An `EventTarget` that knows its events; assignable to and from that of `@graphql-yoga/typed-event-target`. */
export interface TypedEventTarget<TEvent extends TypedEvent> extends EventTarget {
  /** Has `callback` hear the events of `type`. */
  addEventListener<TCurrEvent extends TEvent>(
    type: TCurrEvent['type'],
    callback: TypedEventListenerOrEventListenerObject<TCurrEvent> | null,
    options?: TypedEventListenerOptions | boolean,
  ): void
  /** Sends or delivers an event. */
  dispatchEvent(event: TEvent): boolean
  /** Undoes `addEventListener`, when type, callback and `capture` are the same. */
  removeEventListener<TCurrEvent extends TEvent>(
    type: TCurrEvent['type'],
    callback: TypedEventListenerOrEventListenerObject<TCurrEvent> | null,
    options?: { capture?: boolean } | boolean,
  ): void
}

/** Options of {@link createAlknetEventTarget}. */
export interface AlknetEventTargetOptions {
  /** The stream to the other end: what `connect()` or `onConnection` gave, or any `Duplex`. The target takes it over. */
  stream?: Duplex
  /**
   * Instead of a stream, a session: the target opens a stream on it, and another when that one is lost. Subscriptions are made again;
   * events that were on their way are lost, those that waited are sent. Closing the target leaves the session open; the
   * end of the session is that of the target.
   */
  session?: AlknetSession
  /** With a session: where its streams lead. Default `'alknet-control'`. */
  target?: string
  /**
   * With a session: what becomes of events while there is no stream. `'queue'` (default): they wait, within `maxBuffered`.
   * `'refuse'`: `dispatchEvent` throws `ERR_ALKNET_RECONNECTING`.
   */
  offline?: 'queue' | 'refuse'
  /** Whether a bus sends this target the events that it dispatched itself, if it is subscribed to them. Default `true`. */
  echo?: boolean
  /**
   * What `event.detail` is. `'payload'` (default): the value alone; the event's type travels whole, as `createPubSub` of
   * graphql-yoga wants it. `'envelope'`: an {@link EventEnvelope}, for events named `type` or, when `id` is not empty, `type:id`.
   */
  detail?: 'payload' | 'envelope'
  /** The longest frame sent or accepted. Default 1 048 576, at most 67 108 864. */
  maxFrame?: number
  /** Bytes that may wait to be sent. Default 4 194 304. A single event is accepted when nothing waits, whatever its size. */
  maxBuffered?: number
  /**
   * What becomes of an event for which there is no room. `'error'` (default): `dispatchEvent` throws `ENOBUFS`.
   * `'drop-newest'`: it is not sent, `dispatchEvent` answers false. `'drop-oldest'`: waiting events are given up for it.
   * `'disconnect'`: the stream is destroyed with `ENOBUFS`.
   */
  onOverflow?: 'error' | 'drop-oldest' | 'drop-newest' | 'disconnect'
}

/** Options of {@link AlknetEventTarget.subscribe}. */
export interface AlknetSubscribeOptions {
  /** Ends the iteration when aborted. */
  signal?: AbortSignal
  /** Events that may wait to be taken; one more ends the iteration with `ENOBUFS`, after those. Default 1 024. */
  limit?: number
  /**
   * Of a topic whose events the bus keeps: begins with those after the event with this `seq`; 0 with all that are kept. Not for a topic that
   * has listeners on this target already. What is no longer kept is told to `onerror` with `ENODATA`. Default: events from now on.
   */
  since?: number
}

/**
 * Publish and subscribe over a stream. `dispatchEvent` sends to the other end and never to listeners of this one;
 * the first listener of a topic subscribes there, removing the last one unsubscribes. An end that has been sent no subscription
 * sends everything; from the first one on it sends only what was subscribed to. See docs/events.md.
 */
export interface AlknetEventTarget<TEvent extends TypedEvent = TypedEvent>
  extends TypedEventTarget<TEvent>,
    AsyncDisposable {
  /**
   * Sends an event. True: it was taken, or nobody there wants it. False: it was not, because the target is closed or full.
   *
   * @throws TypeError - a type that starts with `__`, is longer than 256 bytes, or a detail that is no JSON or of the wrong kind
   * @throws AlknetError - `ERR_ALKNET_FRAME_TOO_LARGE`, `ERR_ALKNET_FRAME_INVALID` (deeper than 64 levels), `ENOBUFS`
   */
  dispatchEvent(event: TEvent): boolean
  /**
   * Sends an event as `dispatchEvent` does, waiting for room instead of refusing: resolves when there is room for the next. That the
   * other end has got it is not known then. Rejects with what `dispatchEvent` throws, and with `ERR_ALKNET_SESSION_CLOSED` or why
   * the stream was lost.
   */
  publish(event: TEvent): Promise<void>
  /**
   * The events of a topic from now on, one after the other: `for await (const { detail } of target.subscribe('news'))`. Ends with the
   * target.
   */
  subscribe<TCurrEvent extends TEvent>(
    topic: TCurrEvent['type'],
    options?: AlknetSubscribeOptions,
  ): AsyncIterableIterator<TCurrEvent>
  /** Resolves true once the other end has acknowledged the subscription to `topic`; false when it has refused it, or not within 2 s. */
  ready(topic: TEvent['type']): Promise<boolean>
  /** Resolves when all that was dispatched has been taken by the stream; rejects when the stream is lost before. */
  drained(): Promise<void>
  /** Bytes dispatched that the stream has not sent yet. */
  readonly bufferedAmount: number
  /** Called for every frame that is dropped and for what ends the target. Listeners of `'error'` hear the peer's events of that name. */
  onerror: ((event: CustomEvent<NodeJS.ErrnoException>) => void) | null
  /** Called once, when the stream is closed; `detail` is what ended it, when that was no `close()` of either end. */
  onclose: ((event: CustomEvent<NodeJS.ErrnoException | null>) => void) | null
  /** Resolves when the stream is closed, with what ended it. Never rejects. */
  readonly closed: Promise<NodeJS.ErrnoException | undefined>
  /** Drops all listeners, sends what waits, ends the stream and resolves when it is closed, at most 10 s later. Idempotent. */
  close(): Promise<void>
}

/** Puts typed publish/subscribe on a stream or a session. */
export function createAlknetEventTarget<TEvent extends TypedEvent = TypedEvent>(
  options: AlknetEventTargetOptions,
): AlknetEventTarget<TEvent>

/** Options of {@link frameStream}. */
export interface FrameStreamOptions {
  /** The longest message sent or accepted. Default 1 048 576, at most 67 108 864. */
  maxFrame?: number
}

/**
 * Messages on a stream: the framing of events (4-byte big-endian length) without their JSON.
 *
 * Iteration reads no more of the stream than it needs. Leaving a `for await` leaves the stream open, and another one goes on with the
 * next message. It ends with the peer's end and throws `ERR_ALKNET_FRAME_TOO_LARGE`, `ERR_ALKNET_FRAME_INVALID` (an empty frame, or an
 * end inside one) or whatever the stream failed with.
 */
export interface FrameStream extends AsyncDisposable {
  /** A message may share its memory with others that came with it; copy what is kept for long. */
  [Symbol.asyncIterator](): AsyncIterableIterator<Buffer>
  /**
   * Sends one message, at least one byte. Resolves when there is room for the next: awaiting it is backpressure. Messages of one turn
   * leave in one write; bytes passed in must not change until then. Rejects with `ERR_ALKNET_FRAME_TOO_LARGE`, `ERR_ALKNET_FRAME_INVALID`
   * (empty) or, once the stream is lost or closed, with the reason; whoever does not wait is not troubled by the latter.
   */
  send(message: string | Uint8Array): Promise<void>
  /** Bytes passed to `send()` that the stream has not sent yet. */
  readonly bufferedAmount: number
  /** Sends what waits, ends the stream and resolves when it is closed, at most 10 s later. What still comes is dropped. Idempotent. */
  close(): Promise<void>
}

/** Puts message boundaries on a stream, which it takes over. */
export function frameStream(duplex: Duplex, options?: FrameStreamOptions): FrameStream
