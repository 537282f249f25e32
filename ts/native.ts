/**
 * Loads the addon, once, when it is first needed: importing the package does no work and cannot fail.
 */
import { createRequire } from 'node:module'
import { resolve } from 'node:path'
import type * as Binding from '../native/binding.js'
import { bindingNotFound } from './binding-not-found.js'
import { type Platform, platform, SUPPORTED } from './platform.js'
import { VERSION } from './version.js'

type Addon = typeof Binding

// In a bundle there may be no file name: then packages are looked for where the program is.
const here =
  typeof __filename === 'string' ? __filename : resolve(process.argv[1] ?? 'no program file')
const load = createRequire(here)
let loaded: Addon | undefined

/** The addon. Throws `ERR_ALKNET_BINDING_NOT_FOUND` where there is none that can be loaded. */
export function native(): Addon {
  loaded ??= find()
  return loaded
}

function find(): Addon {
  const system = platform()
  const named = process.env.ALKNET_BINDING
  if (named) return loadFile(resolve(named), 'named', system)
  const inCheckout = resolve(here, '..', '..', 'native', `alknet.${system.key}.node`)
  if (isThere(inCheckout)) return loadFile(inCheckout, 'built', system)
  return loadPackage(`@alkdev/alknet-${system.key}`, system)
}

function loadFile(subject: string, kind: 'named' | 'built', { system }: Platform): Addon {
  try {
    return load(subject)
  } catch (cause) {
    throw bindingNotFound({ kind, subject, system, cause, load })
  }
}

function loadPackage(subject: string, { key, system }: Platform): Addon {
  const fail = (kind: 'unsupported' | 'missing' | 'broken', cause: unknown) =>
    bindingNotFound({ kind, subject, system, cause, load })
  let version: string
  try {
    version = load(`${subject}/package.json`).version
  } catch (cause) {
    throw fail(SUPPORTED.includes(key) ? 'missing' : 'unsupported', cause)
  }
  // The calls between the two are private to one version.
  if (version !== VERSION) {
    const cause = new Error(`${subject} is of version ${version}, expected ${VERSION}`)
    throw bindingNotFound({ kind: 'mismatch', subject, system, cause, load })
  }
  try {
    return load(subject)
  } catch (cause) {
    throw fail('broken', cause)
  }
}

function isThere(file: string): boolean {
  try {
    load.resolve(file)
    return true
  } catch {
    return false
  }
}
