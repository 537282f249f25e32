// What must not be found: an Ed25519 private key in every form that it takes on its way.
import { createHash } from 'node:crypto'
import fs from 'node:fs'

/** The key's seed, what signing makes of it, and the line of the file that has most of it, as `{ name: Buffer }`. */
export function formsOf(file) {
  const lines = fs.readFileSync(file, 'utf8').trim().split('\n').slice(1, -1)
  const blob = Buffer.from(lines.join(''), 'base64')
  const seed = seedOf(blob)
  const scalar = createHash('sha512').update(seed).digest().subarray(0, 32)
  const clamped = Buffer.from(scalar)
  clamped[0] &= 248
  clamped[31] = (clamped[31] & 127) | 64
  return {
    seed,
    scalar,
    'clamped scalar': clamped,
    'line of the file': lineOf(lines, blob.indexOf(seed)),
  }
}

// PROTOCOL.key of OpenSSH: the last pair of strings is the public key, then the private one, which begins with the seed.
function seedOf(blob) {
  const magic = Buffer.from('openssh-key-v1\0')
  if (!blob.subarray(0, magic.length).equals(magic)) throw new Error('not an OpenSSH key')
  const header = Buffer.from('\0\0\0\x0bssh-ed25519\0\0\0\x20', 'latin1')
  const at = blob.lastIndexOf(header) + header.length + 32
  if (blob.readUInt32BE(at) !== 64) throw new Error('not an Ed25519 key without a passphrase')
  return blob.subarray(at + 4, at + 36)
}

/** Of the base64 of the seed's 32 bytes, the longest part that is on one line. */
function lineOf(lines, at) {
  const [first, last] = [Math.ceil((at * 4) / 3) + 1, Math.floor(((at + 32) * 4) / 3) - 1]
  const width = lines[0].length
  const parts = lines.map((line, index) =>
    line.slice(Math.max(0, first - index * width), Math.max(0, last - index * width)),
  )
  return Buffer.from(parts.sort((a, b) => b.length - a.length)[0])
}
