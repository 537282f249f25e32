/**
 * `connect()`: one stream on a session of its own.
 */
import type {
  AlknetConnectOptions,
  AlknetSessionOptions,
  AlknetStream as Stream,
} from '../index.js'
import type { NativeConnectOptions } from '../native/binding.js'
import { doorbell } from './doorbell.js'
import { invalidType } from './errors.js'
import { jumpOptions, unlockedJumps } from './jump.js'
import { native } from './native.js'
import { abortSignal, boolean, connectOptions, object, text } from './options.js'
import { passphrase, wiping } from './passphrase.js'
import { settle } from './pending.js'
import { AlknetStream } from './stream.js'

/**
 * Opens one SSH session with one stream on it. Bad arguments reject too, with a `TypeError` whose code is
 * `ERR_INVALID_ARG_TYPE` or `ERR_INVALID_ARG_VALUE`; nothing is thrown synchronously.
 */
export function connect(options: AlknetConnectOptions): Promise<Stream>
export function connect(connectionString: string, options?: AlknetConnectOptions): Promise<Stream>
export async function connect(
  first: string | AlknetConnectOptions,
  second?: AlknetConnectOptions,
): Promise<Stream> {
  const [connectionString, options] = whereAndHow(first, second)
  const signal = abortSignal(options.signal)
  const allowHalfOpen = boolean('options.allowHalfOpen', options.allowHalfOpen)
  const checked = await unlocked(connectionString, options, signal)
  return settle(
    () => wiping(secrets(checked), () => native().connect(doorbell(), checked)),
    (stream) => new AlknetStream(stream, allowHalfOpen),
    signal,
  )
}

/** Checks the options, and asks for the passphrases of keys that have one. */
export async function unlocked(
  connectionString: string | undefined,
  options: AlknetConnectOptions,
  signal: AbortSignal | undefined,
): Promise<NativeConnectOptions> {
  const checked = connectOptions(connectionString, options)
  const jumps = jumpOptions(options.jump)
  const { identityPath: path, identity: contents, insecurePermissions = false } = checked
  const key = { path, contents, insecurePermissions }
  const secret = await passphrase('options.passphrase', options.passphrase, key, signal)
  const unlocked = secret === undefined ? checked : { ...checked, passphrase: secret }
  if (jumps.length === 0) return unlocked
  return { ...unlocked, jump: await unlockedJumps(jumps, insecurePermissions, signal) }
}

/** What is to be wiped once the addon has it. */
export function secrets({ passphrase, jump = [] }: NativeConnectOptions): Uint8Array[] {
  return [passphrase, ...jump.map((each) => each.passphrase)].filter((each) => each !== undefined)
}

/** The arguments of `connect()` and `openSession()`: a connection string or options, or both. */
export function whereAndHow<Options extends AlknetConnectOptions | AlknetSessionOptions>(
  first: string | Options,
  second: Options | undefined,
): [string | undefined, Options | Record<string, never>] {
  if (typeof first === 'string') {
    return [text('connectionString', first), object('options', second) ?? {}]
  }
  const options = object('options', first)
  if (options === undefined) throw invalidType('options', 'an object', options)
  return [undefined, options]
}
