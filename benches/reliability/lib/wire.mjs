// SSH packets by hand (RFC 4253 §6), and an ssh2 connection made to send whatever it is given.
import { createRequire } from 'node:module'

const { sendPacket } = createRequire(import.meta.url)('ssh2/lib/protocol/utils.js')

export const KEXINIT_LISTS = [
  ['curve25519-sha256', 'mlkem768x25519-sha256', 'kex-strict-c-v00@openssh.com'],
  ['ssh-ed25519'],
  ...[0, 1].map(() => ['aes128-gcm@openssh.com', 'chacha20-poly1305@openssh.com']),
  ...[0, 1].map(() => ['hmac-sha2-256-etm@openssh.com']),
  ...[0, 1].map(() => ['none']),
  [],
  [],
]

export function number(value) {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

export const string = (content) => {
  const bytes = Buffer.from(content)
  return Buffer.concat([number(bytes.length), bytes])
}

export const list = (names) => string(names.join(','))

/** A packet before there are keys. */
export function packet(payload) {
  const padding = 8 - ((payload.length + 5) % 8) + 8
  return Buffer.concat([
    number(payload.length + padding + 1),
    Buffer.of(padding),
    payload,
    Buffer.alloc(padding),
  ])
}

/** Sends `payload` as the next packet of an ssh2 connection, sealed as it should be. */
export function inject({ _protocol: protocol }, payload) {
  const { write } = protocol._packetRW
  const at = write.allocStart
  const sealed = write.alloc(payload.length)
  payload.copy(sealed, at)
  sendPacket(protocol, write.finalize(sealed))
}
