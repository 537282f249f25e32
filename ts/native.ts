/**
 * Loads the addon, once, when it is first needed: importing the package does no work and cannot fail.
 */
import { createRequire } from 'node:module'
import type * as Binding from '../native/binding.js'
import { AlknetError } from './errors.js'

const BUNDLED = '../native/binding.cjs'
let loaded: typeof Binding | undefined

/** The addon. Throws `ERR_ALKNET_BINDING_NOT_FOUND` where there is none that can be loaded. */
export function native(): typeof Binding {
  loaded ??= load()
  return loaded
}

function load(): typeof Binding {
  const path = process.env.ALKNET_BINDING || BUNDLED
  try {
    return createRequire(import.meta.url)(path)
  } catch (cause) {
    throw notFound(path, cause)
  }
}

function notFound(path: string, cause: unknown): AlknetError {
  const system = [process.platform, process.arch, libc()].filter(Boolean).join('-')
  const tried = path === BUNDLED ? 'native/binding.cjs of the package' : `ALKNET_BINDING=${path}`
  const hint =
    path === BUNDLED
      ? 'install the package again for this system, or build it and set ALKNET_BINDING to the addon'
      : 'correct ALKNET_BINDING, or unset it to use the addon of the package'
  const why = cause instanceof Error ? cause.message.split('\n', 1)[0] : String(cause)
  const message = `no addon could be loaded for ${system}: tried ${tried} (${why}); ${hint}`
  return new AlknetError('ERR_ALKNET_BINDING_NOT_FOUND', message, { cause, hint, phase: 'config' })
}

function libc(): string | undefined {
  const report: (NodeJS.ProcessReport & { excludeNetwork?: boolean }) | undefined = process.report
  if (process.platform !== 'linux' || report === undefined) return undefined
  const { excludeNetwork = false } = report
  try {
    // Otherwise the report looks up the name of every open connection.
    report.excludeNetwork = true
    return JSON.stringify(report.getReport()).includes('glibcVersionRuntime') ? 'gnu' : 'musl'
  } finally {
    report.excludeNetwork = excludeNetwork
  }
}
