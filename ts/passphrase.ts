/**
 * Passphrases of private keys: given at once, or asked for when a key turns out to be encrypted. Copies made here are wiped.
 */
import { types } from 'node:util'
import type { AlknetKeyInfo, AlknetPassphrase } from '../index.js'
import { doorbell } from './doorbell.js'
import { abortError, invalidType } from './errors.js'
import { native } from './native.js'
import { settle } from './pending.js'

/** A private key as the addon takes it. */
interface Key {
  path: string | undefined
  contents: Uint8Array | undefined
  insecurePermissions: boolean
}

/** Checks the type of a passphrase that was given, before anything else is done. */
export function checkPassphrase(name: string, given: AlknetPassphrase | undefined): void {
  if (given !== undefined && typeof given !== 'function') toBytes(name, given).fill(0)
}

/** The passphrase of `key`: `given`, or what it answers, which is asked only when the key is encrypted. */
export async function passphrase(
  name: string,
  given: AlknetPassphrase | undefined,
  key: Key,
  signal: AbortSignal | undefined,
): Promise<Uint8Array | undefined> {
  if (typeof given !== 'function') return given === undefined ? undefined : toBytes(name, given)
  const { path, contents, insecurePermissions } = key
  if (path === undefined && contents === undefined) return undefined
  const { encrypted, algorithm, fingerprint } = await settle(
    () => native().inspectKey(doorbell(), path ?? null, contents ?? null, insecurePermissions),
    (found) => found,
    signal,
  )
  if (!encrypted) return undefined
  const info: AlknetKeyInfo = { algorithm, fingerprint }
  if (path !== undefined) info.path = path
  return toBytes(`the answer of ${name}`, await unlessAborted(given(info), signal))
}

/** Starts an operation of the addon, which copies what it is given, and wipes the passphrases. */
export function wiping<T>(secrets: readonly Uint8Array[], start: () => T): T {
  try {
    return start()
  } finally {
    for (const secret of secrets) secret.fill(0)
  }
}

function toBytes(name: string, value: string | Uint8Array): Uint8Array {
  if (typeof value === 'string') return Buffer.from(value, 'utf8')
  // Not `instanceof`: test runners give every file a realm of its own.
  if (types.isUint8Array(value)) return Buffer.from(value)
  throw invalidType(name, 'a string or a Buffer', value)
}

async function unlessAborted<T>(
  value: T | Promise<T>,
  signal: AbortSignal | undefined,
): Promise<T> {
  if (signal === undefined) return value
  let abort = (): void => {}
  const aborted = new Promise<never>((_, reject) => {
    abort = () => reject(abortError(signal))
    if (signal.aborted) abort()
    else signal.addEventListener('abort', abort, { once: true })
  })
  try {
    return await Promise.race([value, aborted])
  } finally {
    signal.removeEventListener('abort', abort)
  }
}
