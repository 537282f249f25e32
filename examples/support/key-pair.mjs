import { generateKeyPairSync, randomBytes } from 'node:crypto'

/**
 * A fresh Ed25519 key pair, as `ssh-keygen -t ed25519` makes it, for machines that have no `ssh-keygen`.
 *
 * @param {string} [comment]
 * @returns {{ privateKey: string, publicKey: string }} The OpenSSH private key file and the line for `authorized_keys`.
 */
export function makeKeyPair(comment = 'alknet') {
  const { d, x } = generateKeyPairSync('ed25519').privateKey.export({ format: 'jwk' })
  const point = Buffer.from(x ?? '', 'base64url')
  const seed = Buffer.from(d ?? '', 'base64url')
  const publicBlob = Buffer.concat([string('ssh-ed25519'), string(point)])
  const check = randomBytes(4) // twice: how a reader knows that it decrypted rightly
  const secret = [check, check, publicBlob, string(Buffer.concat([seed, point])), string(comment)]
  const file = Buffer.concat([
    Buffer.from('openssh-key-v1\0'),
    string('none'), // cipher
    string('none'), // key derivation
    string(''),
    uint32(1), // one key
    string(publicBlob),
    string(padded(Buffer.concat(secret))),
  ])
  const lines = file.toString('base64').match(/.{1,70}/g) ?? []
  return {
    privateKey: [
      '-----BEGIN OPENSSH PRIVATE KEY-----',
      ...lines,
      '-----END OPENSSH PRIVATE KEY-----',
      '',
    ].join('\n'),
    publicKey: `ssh-ed25519 ${publicBlob.toString('base64')} ${comment}\n`,
  }
}

/** @param {number} value */
function uint32(value) {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

/** @param {string | Buffer} value */
function string(value) {
  const bytes = Buffer.from(value)
  return Buffer.concat([uint32(bytes.length), bytes])
}

/** To whole blocks of eight bytes, with 1, 2, 3, … @param {Buffer} bytes */
function padded(bytes) {
  const missing = (8 - (bytes.length % 8)) % 8
  return Buffer.concat([bytes, Buffer.from(Array.from({ length: missing }, (_, i) => i + 1))])
}
