/**
 * `jump`: servers to go through on the way to another.
 */
import type { AlknetConnectOptions, AlknetJump, AlknetPassphrase } from '../index.js'
import type { NativeJump } from '../native/binding.js'
import { invalidType, invalidValue } from './errors.js'
import { JUMP, refuseUnknown } from './known.js'
import {
  defined,
  hostKeys,
  knownHosts,
  object,
  optionalSource,
  text,
  transports,
  trust,
} from './options.js'
import { checkPassphrase, passphrase } from './passphrase.js'

/** One that is checked, and how to unlock its key. */
interface Checked {
  name: string
  jump: NativeJump
  passphrase: AlknetPassphrase | undefined
}

/** Checks `jump` of `connect()` and `openSession()`. */
export function jumpOptions(value: AlknetConnectOptions['jump']): Checked[] {
  if (value === undefined) return []
  if (!isList(value)) return [checked('options.jump', value)]
  return value.map((each, at) => checked(`options.jump[${at}]`, each))
}

/** Asks for the passphrases of keys that have one. */
export async function unlockedJumps(
  list: readonly Checked[],
  insecurePermissions: boolean,
  signal: AbortSignal | undefined,
): Promise<NativeJump[]> {
  const all: NativeJump[] = []
  for (const { name, jump, passphrase: given } of list) {
    const { identity } = jump
    const key = { path: identity?.path, contents: identity?.contents, insecurePermissions }
    const secret = await passphrase(`${name}.passphrase`, given, key, signal)
    all.push(secret === undefined ? jump : { ...jump, passphrase: secret })
  }
  return all
}

function isList(
  value: NonNullable<AlknetConnectOptions['jump']>,
): value is readonly (string | AlknetJump)[] {
  return Array.isArray(value)
}

function checked(name: string, value: string | AlknetJump): Checked {
  const given = typeof value === 'string' ? { server: value } : object(name, value)
  if (given === undefined) throw invalidType(name, 'a string or an object', given)
  refuseUnknown(name, given, JUMP)
  const server = text(`${name}.server`, given.server)
  if (server === undefined) throw invalidValue(`${name}.server`, 'given')
  checkPassphrase(`${name}.passphrase`, given.passphrase)
  const jump = defined<NativeJump>({
    server,
    transport: transports(`${name}.transport`, given.transport),
    user: text(`${name}.user`, given.user),
    identity: optionalSource(`${name}.identity`, given.identity),
    certificate: optionalSource(`${name}.certificate`, given.certificate),
    passphrase: undefined,
    hostKeys: hostKeys(`${name}.hostKeys`, given.hostKeys),
    knownHosts: knownHosts(`${name}.knownHosts`, given.knownHosts),
    hostKeyAlias: text(`${name}.hostKeyAlias`, given.hostKeyAlias),
    trust: trust(`${name}.trust`, given.trust),
  })
  return { name, jump, passphrase: given.passphrase }
}
