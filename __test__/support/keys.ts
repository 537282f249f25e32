import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll } from 'vitest'
import { memo } from './cleanup.js'

const run = promisify(execFile)

/** A key pair as `ssh-keygen` leaves it on disk. */
export interface KeyPair {
  /** Path of the private key. */
  path: string
  /** Path of the public key. */
  publicPath: string
  /** One line, `ssh-ed25519 AAAA… comment`. */
  publicKey: string
  /** `SHA256:…`, as `ssh-keygen -l` prints it. */
  fingerprint: string
}

/** A directory of this file's own, removed when the file is over. */
export const scratch = memo(() => {
  const path = mkdtempSync(join(tmpdir(), 'alknet-test-'))
  afterAll(() => rmSync(path, { recursive: true, force: true }))
  return path
})
scratch()

/** Makes a key with `ssh-keygen`; `args` choose type and format (default: Ed25519, OpenSSH format, no passphrase). */
export async function makeKey(name: string, args = ['-t', 'ed25519']): Promise<KeyPair> {
  const path = join(scratch(), name)
  await run('ssh-keygen', ['-q', '-N', '', '-C', 'alknet test', '-f', path, ...args])
  const publicPath = `${path}.pub`
  const { stdout } = await run('ssh-keygen', ['-l', '-E', 'sha256', '-f', publicPath])
  const fingerprint = /SHA256:\S+/.exec(stdout)?.[0]
  if (fingerprint === undefined) throw new Error(`no fingerprint in: ${stdout}`)
  return { path, publicPath, publicKey: readFileSync(publicPath, 'utf8').trim(), fingerprint }
}

/** The key that logs in. */
export const clientKey = memo(() => makeKey('client'))

/** The key of whatever server a test starts. */
export const hostKey = memo(() => makeKey('host'))

/** A key that nobody has authorised and no server shows. */
export const strangerKey = memo(() => makeKey('stranger'))
