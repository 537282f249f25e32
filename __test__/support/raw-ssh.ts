import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign,
} from 'node:crypto'
import { type Socket, connect as tcpConnect } from 'node:net'
import { afterwards } from './cleanup.js'

/** Message numbers (RFC 4250 §4.1.2). */
export const MSG = {
  DISCONNECT: 1,
  IGNORE: 2,
  UNIMPLEMENTED: 3,
  SERVICE_REQUEST: 5,
  SERVICE_ACCEPT: 6,
  EXT_INFO: 7,
  KEXINIT: 20,
  NEWKEYS: 21,
  ECDH_INIT: 30,
  ECDH_REPLY: 31,
  USERAUTH_REQUEST: 50,
  USERAUTH_FAILURE: 51,
  USERAUTH_SUCCESS: 52,
  GLOBAL_REQUEST: 80,
  REQUEST_FAILURE: 82,
  CHANNEL_OPEN: 90,
  CHANNEL_OPEN_CONFIRMATION: 91,
  CHANNEL_OPEN_FAILURE: 92,
  CHANNEL_WINDOW_ADJUST: 93,
  CHANNEL_DATA: 94,
  CHANNEL_EXTENDED_DATA: 95,
  CHANNEL_EOF: 96,
  CHANNEL_CLOSE: 97,
  CHANNEL_REQUEST: 98,
} as const

export const u32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value >>> 0)
  return bytes
}

export const text = (value: string | Buffer): Buffer => {
  const bytes = Buffer.from(value)
  return Buffer.concat([u32(bytes.length), bytes])
}

/** A payload: a number is one byte, a string an SSH string, a Buffer goes as it is. */
export const message = (...parts: readonly (number | string | Buffer)[]): Buffer =>
  Buffer.concat(
    parts.map((part) => {
      if (typeof part === 'number') return Buffer.from([part])
      return typeof part === 'string' ? text(part) : part
    }),
  )

/** An Ed25519 key that logs in; `line` goes into authorized_keys. */
export interface RawKey {
  line: string
  blob: Buffer
  privateKey: KeyObject
}

export function rawKey(): RawKey {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519')
  const blob = message('ssh-ed25519', text(point(publicKey)))
  return { line: `ssh-ed25519 ${blob.toString('base64')} raw`, blob, privateKey }
}

export interface Offer {
  kex?: string
  cipher?: string
  hostKey?: string
}

const STRICT = 'curve25519-sha256,ext-info-c,kex-strict-c-v00@openssh.com'

/** A KEXINIT payload. */
export function kexinit(offer: Offer = {}): Buffer {
  const cipher = offer.cipher ?? 'aes128-gcm@openssh.com'
  const mac = 'hmac-sha2-256-etm@openssh.com'
  const key = offer.hostKey ?? 'ssh-ed25519'
  const lists = [offer.kex ?? STRICT, key, cipher, cipher, mac, mac, 'none', 'none', '', '']
  return message(MSG.KEXINIT, randomBytes(16), ...lists, 0, u32(0))
}

export interface RawOptions {
  localAddress?: string
  /** What is said first; default a valid identification. */
  ident?: string
}

/**
 * An SSH client that does as it is told: each message, valid or not, at any stage. Only what an attack needs is checked; the
 * ciphers are AES-128-GCM after the key exchange and nothing before.
 */
export class RawSsh {
  readonly socket: Socket
  /** Resolves when the server has hung up, politely or not. */
  readonly closed: Promise<void>
  readonly ident: string
  #received = Buffer.alloc(0)
  #ended = false
  readonly #waiting = new Set<() => void>()
  #sealer: Gcm | undefined
  #opener: Gcm | undefined
  #serverIdent = ''
  #greeted = false
  #sessionId: Buffer | undefined

  constructor(server: string, options: RawOptions = {}) {
    const at = server.lastIndexOf(':')
    const host = server.slice(0, at)
    const port = Number(server.slice(at + 1))
    const { localAddress } = options
    this.ident = options.ident ?? 'SSH-2.0-raw_1'
    this.socket = tcpConnect({ host, port, ...(localAddress ? { localAddress } : {}) })
    this.socket.setNoDelay(true)
    this.socket.on('error', () => {})
    this.socket.on('data', (chunk) => {
      this.#received = Buffer.concat([this.#received, chunk])
      this.#wake()
    })
    const end = () => {
      this.#ended = true
      this.#wake()
    }
    this.closed = new Promise((resolve) => {
      this.socket.on('end', end).on('close', () => {
        end()
        resolve()
      })
    })
    afterwards(() => this.socket.destroy())
  }

  /** Bytes as they are. */
  write(bytes: Buffer | string): void {
    this.socket.write(bytes)
  }

  /** Exchanges identifications. */
  async greet(): Promise<string> {
    this.#greeted = true
    this.write(`${this.ident}\r\n`)
    return this.hear()
  }

  /** The server's identification line. */
  async hear(): Promise<string> {
    if (this.#serverIdent !== '') return this.#serverIdent
    await this.#until(() => this.#received.includes(10))
    const end = this.#received.indexOf(10)
    if (end < 0) throw new Error('the server hung up before its identification')
    const line = this.#received.subarray(0, end).toString().trimEnd()
    this.#received = this.#received.subarray(end + 1)
    this.#serverIdent = line
    return line
  }

  /** One packet, in the clear or sealed as is right at the moment. */
  send(payload: Buffer): void {
    this.write(this.#sealer ? this.#sealer.seal(payload) : clear(payload))
  }

  /** The next packet's payload; nothing when the server has hung up. */
  async receive(): Promise<Buffer | undefined> {
    const size = () => (this.#received.length < 4 ? Infinity : this.#received.readUInt32BE(0))
    const tag = this.#opener ? 16 : 0
    await this.#until(() => this.#received.length >= 4 + size() + tag)
    const length = 4 + size() + tag
    if (this.#received.length < length) return undefined
    const packet = this.#received.subarray(0, length)
    this.#received = this.#received.subarray(length)
    const body = this.#opener ? this.#opener.open(packet) : packet.subarray(4)
    return body.subarray(1, body.length - (body[0] as number))
  }

  /** The next packet of kind `kind`, others skipped; nothing when the server hangs up first. */
  async expect(...kinds: readonly number[]): Promise<Buffer | undefined> {
    for (;;) {
      const payload = await this.receive()
      if (payload === undefined || kinds.includes(payload[0] as number)) return payload
    }
  }

  /** The whole key exchange, the first or a later one. Returns the server's KEXINIT. */
  async exchange(offer: Offer = {}): Promise<Buffer> {
    if (this.#sessionId === undefined && !this.#greeted) await this.greet()
    const ours = kexinit(offer)
    this.send(ours)
    const theirs = await this.expect(MSG.KEXINIT)
    const { privateKey, publicKey } = generateKeyPairSync('x25519')
    const ourPoint = point(publicKey)
    this.send(message(MSG.ECDH_INIT, text(ourPoint)))
    const reply = await this.expect(MSG.ECDH_REPLY)
    if (!theirs || !reply) throw new Error('the server hung up during the key exchange')
    const [hostKey, theirPoint] = strings(reply.subarray(1))
    const peer = createPublicKey({
      key: { kty: 'OKP', crv: 'X25519', x: (theirPoint as Buffer).toString('base64url') },
      format: 'jwk',
    })
    const secret = mpint(diffieHellman({ privateKey, publicKey: peer }))
    const parts = [this.ident, this.#serverIdent, ours, theirs, hostKey, ourPoint, theirPoint]
    const signed = Buffer.concat([...parts.map((part) => text(part as Buffer)), secret])
    const hash = sha256(signed)
    this.#sessionId ??= hash
    const derive = (letter: string, length: number) =>
      sha256(secret, hash, letter, this.#sessionId as Buffer).subarray(0, length)
    await this.expect(MSG.NEWKEYS)
    this.send(message(MSG.NEWKEYS))
    this.#sealer = new Gcm(derive('C', 16), derive('A', 12))
    this.#opener = new Gcm(derive('D', 16), derive('B', 12))
    return theirs
  }

  /** Asks for the authentication service. */
  async askForAuth(): Promise<void> {
    this.send(message(MSG.SERVICE_REQUEST, 'ssh-userauth'))
    await this.expect(MSG.SERVICE_ACCEPT)
  }

  /** A log-in request with `key`, signed unless it only asks whether the key would do. */
  authRequest(key: RawKey, user = 'raw', signed = true): Buffer {
    const head = message(MSG.USERAUTH_REQUEST, user, 'ssh-connection', 'publickey', signed ? 1 : 0)
    const request = message(head, 'ssh-ed25519', text(key.blob))
    if (!signed) return request
    const signature = sign(null, message(text(this.#sessionId as Buffer), request), key.privateKey)
    return message(request, text(message('ssh-ed25519', text(signature))))
  }

  /** Key exchange and log-in. */
  async logIn(key: RawKey, offer?: Offer): Promise<this> {
    await this.exchange(offer)
    await this.askForAuth()
    this.send(this.authRequest(key))
    const answer = await this.expect(MSG.USERAUTH_SUCCESS, MSG.USERAUTH_FAILURE)
    if (answer?.[0] !== MSG.USERAUTH_SUCCESS) throw new Error('the server did not let us in')
    return this
  }

  /** The payload of a channel open to the program behind the server. */
  open(channel: number, target = 'alknet-control', packet = 32_768, window = 1 << 21): Buffer {
    const head = message(MSG.CHANNEL_OPEN, 'direct-tcpip', u32(channel), u32(window), u32(packet))
    return message(head, target, u32(0), '127.0.0.1', u32(1))
  }

  /** Opens a channel; the server's number of it. */
  async openChannel(channel = 0): Promise<number> {
    this.send(this.open(channel))
    const answer = await this.expect(MSG.CHANNEL_OPEN_CONFIRMATION, MSG.CHANNEL_OPEN_FAILURE)
    if (answer?.[0] !== MSG.CHANNEL_OPEN_CONFIRMATION) throw new Error('the open was refused')
    return answer.readUInt32BE(5)
  }

  async #until(ready: () => boolean): Promise<void> {
    while (!ready() && !this.#ended) {
      await new Promise<void>((resolve) => this.#waiting.add(resolve))
    }
  }

  #wake(): void {
    const waiting = [...this.#waiting]
    this.#waiting.clear()
    for (const wake of waiting) wake()
  }
}

/** A packet in the clear; `padding` and `length` may be wrong on purpose. */
export function clear(payload: Buffer, padding?: number, length?: number): Buffer {
  const rest = (5 + payload.length) % 8
  const pad = padding ?? (rest > 4 ? 16 - rest : 8 - rest)
  const body = message(pad, payload, Buffer.alloc(Math.max(pad, 0)))
  return message(u32(length ?? body.length), body)
}

/** One direction of aes128-gcm@openssh.com (RFC 5647, with OpenSSH's unencrypted length). */
class Gcm {
  readonly key: Buffer
  readonly nonce: Buffer

  constructor(key: Buffer, nonce: Buffer) {
    this.key = key
    this.nonce = nonce
  }

  seal(payload: Buffer): Buffer {
    const rest = (1 + payload.length) % 16
    const pad = rest > 12 ? 32 - rest : 16 - rest
    const body = message(pad, payload, Buffer.alloc(pad))
    const length = u32(body.length)
    const cipher = createCipheriv('aes-128-gcm', this.key, this.nonce).setAAD(length)
    const sealed = message(length, cipher.update(body), cipher.final(), cipher.getAuthTag())
    this.#count()
    return sealed
  }

  open(packet: Buffer): Buffer {
    const cipher = createDecipheriv('aes-128-gcm', this.key, this.nonce)
    cipher.setAAD(packet.subarray(0, 4)).setAuthTag(packet.subarray(-16))
    const body = Buffer.concat([cipher.update(packet.subarray(4, -16)), cipher.final()])
    this.#count()
    return body
  }

  #count(): void {
    this.nonce.writeBigUInt64BE(BigInt.asUintN(64, this.nonce.readBigUInt64BE(4) + 1n), 4)
  }
}

const sha256 = (...parts: readonly (string | Buffer)[]): Buffer =>
  parts.reduce((hash, part) => hash.update(part), createHash('sha256')).digest()

function point(key: KeyObject): Buffer {
  return Buffer.from(key.export({ format: 'jwk' }).x as string, 'base64url')
}

function mpint(bytes: Buffer): Buffer {
  let start = 0
  while (bytes[start] === 0) start += 1
  const short = bytes.subarray(start)
  return text((short[0] ?? 0) & 0x80 ? Buffer.concat([Buffer.of(0), short]) : short)
}

function strings(bytes: Buffer): Buffer[] {
  const found: Buffer[] = []
  for (let at = 0; at + 4 <= bytes.length; ) {
    const end = at + 4 + bytes.readUInt32BE(at)
    found.push(bytes.subarray(at + 4, end))
    at = end
  }
  return found
}

/** The name-lists of a KEXINIT: key exchange, host key, ciphers both ways, … */
export function nameLists(payload: Buffer): string[] {
  return strings(payload.subarray(17)).map(String)
}
