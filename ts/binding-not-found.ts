/**
 * Says why there is no addon and what to do about it: this is the first thing that many see of a package with an addon.
 */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { AlknetError } from './errors.js'
import { SUPPORTED } from './platform.js'
import { VERSION } from './version.js'

export interface Failure {
  /**
   * `named` by ALKNET_BINDING or `built` in a checkout, and does not load; of the packages: none for this system, not installed,
   * of another version, does not load.
   */
  kind: 'named' | 'built' | 'unsupported' | 'missing' | 'mismatch' | 'broken'
  /** The file or package that was tried. */
  subject: string
  /** For people: platform, libc, runtime. */
  system: string
  /** What the runtime said. */
  cause: unknown
  load: NodeJS.Require
}

/** The error for it. */
export function bindingNotFound(failure: Failure): AlknetError {
  const installed = installedPackages(failure.load)
  const list = installed.map(({ name, version }) => `${name} ${version}`)
  const found = list.length > 0 ? `; installed: ${list.join(', ')}` : ''
  const fix = hint(failure, installed)
  const message = `no addon for ${failure.system}: ${reason(failure)}${found}; ${fix}`
  const { cause } = failure
  return new AlknetError('ERR_ALKNET_BINDING_NOT_FOUND', message, {
    cause,
    hint: fix,
    phase: 'config',
  })
}

function reason({ kind, subject, cause }: Failure): string {
  const said = cause instanceof Error ? cause.message.split('\n', 1)[0] : String(cause)
  switch (kind) {
    case 'named':
      return `ALKNET_BINDING=${subject} does not load (${said})`
    case 'unsupported':
      return 'none is published for this system'
    case 'missing':
      return `${subject} is not installed beside @alkdev/alknet ${VERSION}`
    case 'mismatch':
      return `@alkdev/alknet is of version ${VERSION} and cannot use an addon of another`
    default:
      return `${subject} does not load (${said})`
  }
}

function hint({ kind, cause }: Failure, installed: readonly Installed[]): string {
  switch (kind) {
    case 'named':
      return 'correct ALKNET_BINDING, or unset it to use the addon of the package'
    case 'built':
      return `${loading(cause)}; npm run build makes it anew`
    case 'unsupported':
      return `published are ${SUPPORTED.join(', ')}; elsewhere build it in a checkout and set ALKNET_BINDING to the file`
    case 'missing':
      if (installed.length > 0) {
        return 'these packages were installed on, or copied from, another system: delete node_modules and install on this one'
      }
      return 'install again without --omit=optional and --no-optional; if the lock file was made on another system, delete it and node_modules first'
    case 'mismatch':
      return 'delete node_modules and install again, so that both are of one version'
    case 'broken':
      return loading(cause)
  }
}

/** What helps against an addon that is there and does not load. */
function loading(cause: unknown): string {
  const { code, message = '' } = cause as NodeJS.ErrnoException
  if (code === 'ERR_DLOPEN_DISABLED') return 'allow addons: node --permission --allow-addons'
  if (process.versions.deno && /ffi/i.test(message)) return 'allow addons: deno run --allow-ffi'
  if (/GLIBC/.test(message)) return 'this glibc is older than the addon needs: update the system'
  return 'the file is damaged or for another system: delete node_modules and install on this one'
}

interface Installed {
  name: string
  version: string
}

/** The platform packages that can be seen from here, for whatever system they are. */
function installedPackages(load: NodeJS.Require): Installed[] {
  const folders = load.resolve.paths?.('@alkdev/alknet') ?? []
  return folders.flatMap((folder) =>
    names(join(folder, '@alkdev')).map((name) => ({
      name: `@alkdev/${name}`,
      version: versionOf(join(folder, '@alkdev', name), load),
    })),
  )
}

function names(folder: string): string[] {
  try {
    return readdirSync(folder).filter((name) => /^alknet-\w+-\w/.test(name))
  } catch {
    return []
  }
}

function versionOf(folder: string, load: NodeJS.Require): string {
  try {
    return load(join(folder, 'package.json')).version
  } catch {
    return 'without a manifest'
  }
}
