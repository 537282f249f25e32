/**
 * Which of the prebuilt addons fits this system.
 */

/** The systems that have a package, `@alkdev/alknet-<key>`: the folders of npm/. */
export const SUPPORTED: readonly string[] = [
  'darwin-arm64',
  'darwin-x64',
  'linux-arm64-gnu',
  'linux-arm64-musl',
  'linux-x64-gnu',
  'linux-x64-musl',
  'win32-x64-msvc',
]

export interface Platform {
  /** As the packages are called: `linux-x64-gnu`. */
  key: string
  /** For people: `linux x64, glibc 2.36, Node 20.19.0`. */
  system: string
}

/** This system, as its runtime tells. */
export function platform(): Platform {
  const { platform: os, arch, versions } = process
  const glibc = os === 'linux' ? glibcVersion() : undefined
  const musl = os === 'linux' && glibc === undefined
  const abi = os === 'win32' ? 'msvc' : os === 'linux' ? (musl ? 'musl' : 'gnu') : undefined
  const libc = musl ? 'musl' : glibc && `glibc ${glibc}`
  const runtime =
    (versions.bun && `Bun ${versions.bun}`) ||
    (versions.deno && `Deno ${versions.deno}`) ||
    `Node ${versions.node}`
  return {
    key: [os, arch, abi].filter(Boolean).join('-'),
    system: [`${os} ${arch}`, libc, runtime].filter(Boolean).join(', '),
  }
}

/** The version of glibc, `''` when it cannot be told, `undefined` where the C library is another one. */
function glibcVersion(): string | undefined {
  const report: (NodeJS.ProcessReport & { excludeNetwork?: boolean }) | undefined = process.report
  if (typeof report?.getReport !== 'function') return ''
  const { excludeNetwork = false } = report
  try {
    // Otherwise the report looks up the name of every open connection.
    report.excludeNetwork = true
    const { header } = report.getReport() as { header?: { glibcVersionRuntime?: string } }
    return header?.glibcVersionRuntime
  } catch {
    return ''
  } finally {
    report.excludeNetwork = excludeNetwork
  }
}
