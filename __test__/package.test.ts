import {
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { basename, join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import * as alknet from '../index.js'
import { expectWell, installAlknet, makeApp, succeed } from './support/app.js'
import { scratch } from './support/keys.js'
import { start } from './support/program.js'
import { builtAddon, packAll, root, startRegistry } from './support/registry.js'

interface Manifest {
  name: string
  version: string
  os?: string[]
  cpu?: string[]
  libc?: string[]
  engines: object
  license: string
  optionalDependencies?: Record<string, string>
}

const readJson = <T = Manifest>(file: string) => JSON.parse(readFileSync(file, 'utf8')) as T
const own = readJson(join(root, 'package.json'))
const { platform } = builtAddon()
const supported = readdirSync(join(root, 'npm')).sort()

/** The files of a folder and of those in it. */
const filesOf = (folder: string): string[] =>
  readdirSync(join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    const name = `${folder}/${entry.name}`
    return entry.isDirectory() ? filesOf(name) : [name]
  })

/** The files of each tarball, and its manifest, by package name. */
const packed = new Map<string, { files: string[]; manifest: Manifest }>()
let registry: string
let app: string

beforeAll(async () => {
  const tarballs = await packAll()
  registry = await startRegistry(tarballs)
  for (const tarball of tarballs) {
    const { stdout } = await succeed(scratch(), 'tar', ['-tzf', tarball])
    const files = stdout
      .trim()
      .split('\n')
      .map((file) => file.replace(/^package\//, ''))
    const shown = await succeed(scratch(), 'tar', ['-xzOf', tarball, 'package/package.json'])
    const manifest = JSON.parse(shown.stdout) as Manifest
    packed.set(manifest.name, { files: files.sort(), manifest })
  }
  app = await makeApp('app')
  await installAlknet(app, registry)
}, 60_000)

describe('what is published', () => {
  it('is the main package with what its users need, and nothing else', () => {
    const sources = readdirSync(join(root, 'ts')).filter((name) => name !== 'conformance.ts')
    const expected = [
      ...['CHANGELOG.md', 'LICENSE-APACHE', 'LICENSE-MIT', 'README.md', 'package.json'],
      ...[
        'index.cjs',
        'index.d.cts',
        'index.d.ts',
        'index.js',
        'bin/alknet.js',
        'dist/package.json',
      ],
      ...sources.map((name) => `dist/${name.replace(/\.ts$/, '.js')}`),
      ...filesOf('docs'),
    ]
    expect(packed.get('@alkdev/alknet')?.files).toEqual(expected.sort())
  })

  it('names an optional package of its own version for every supported platform', () => {
    const manifest = packed.get('@alkdev/alknet')?.manifest
    const versions = supported.map((key) => [`@alkdev/alknet-${key}`, own.version])
    expect(manifest?.optionalDependencies).toEqual(Object.fromEntries(versions))
  })

  it('has nothing that runs at install, and no other dependencies', () => {
    for (const { manifest } of packed.values()) {
      for (const key of ['scripts', 'dependencies', 'devDependencies', 'bundleDependencies']) {
        expect(manifest, manifest.name).not.toHaveProperty(key)
      }
    }
  })

  it.each(supported)('has %s: the addon, the licences, and where it may be installed', (key) => {
    const found = packed.get(`@alkdev/alknet-${key}`)
    const texts = ['LICENSE-APACHE', 'LICENSE-MIT', 'README.md', 'THIRD-PARTY-LICENSES']
    expect(found?.files).toEqual([...texts, `alknet.${key}.node`, 'package.json'])
    const [os, cpu, abi] = key.split('-')
    const libc = { gnu: ['glibc'], musl: ['musl'] }[abi ?? '']
    const { version, engines, license } = own
    expect(found?.manifest).toMatchObject({ os: [os], cpu: [cpu], version, engines, license })
    expect(found?.manifest.libc).toEqual(libc)
  })

  it('knows the same platforms in the loader, and the same version everywhere', () => {
    const loader = readFileSync(join(root, 'ts', 'platform.ts'), 'utf8')
    expect(loader.match(/(?<=^ {2}')[\w-]+(?=',$)/gm)).toEqual(supported)
    const version = readFileSync(join(root, 'ts', 'version.ts'), 'utf8')
    expect(version).toContain(`VERSION = '${own.version}'`)
    const cargo = readFileSync(join(root, 'Cargo.toml'), 'utf8')
    expect(cargo).toContain(`[workspace.package]\nversion = "${own.version}"`)
  })
})

describe('installed into an empty folder', () => {
  it('brings the addon of this platform only', () => {
    const ours = readdirSync(join(app, 'node_modules', '@alkdev')).sort()
    expect(ours).toEqual(['alknet', `alknet-${platform}`])
  })

  it('works by import', () => expectWell(app, process.execPath, 'import.mjs'))
  it('works by require', () => expectWell(app, process.execPath, 'require.cjs'))
  it('works in worker threads', () => expectWell(app, process.execPath, 'worker.mjs'))

  it('does what its README shows', async () => {
    const readme = readFileSync(join(app, 'node_modules', '@alkdev', 'alknet', 'README.md'), 'utf8')
    for (const name of ['serve', 'connect', 'events']) {
      const [, code] = readme.split(`<!-- examples/${name}.mjs -->\n\n\`\`\`js\n`)
      writeFileSync(join(app, `${name}.mjs`), `${code?.split('```')[0]}`)
    }
    const events = await succeed(app, process.execPath, ['events.mjs'])
    expect(events.stdout).toBe('{ length: 17 }\n')
    const server = start('env', ['-C', app, process.execPath, 'serve.mjs', '127.0.0.1:0'])
    const client = await succeed(app, process.execPath, ['connect.mjs', await server.line()])
    expect(client.stdout).toBe('hello from here\n')
  })

  it('exports to both kinds of module the same things, which are those that are declared', async () => {
    const code = `import * as imported from '@alkdev/alknet'
      import { createRequire } from 'node:module'
      const required = createRequire(import.meta.url)('@alkdev/alknet')
      const same = Object.keys(imported).every((name) => imported[name] === required[name])
      console.log(JSON.stringify([same, Object.keys(imported).sort(), Object.keys(required).sort()]))`
    const args = ['--input-type=module', '-e', code]
    const { stdout } = await succeed(app, process.execPath, args)
    const types = readFileSync(join(root, 'index.d.ts'), 'utf8')
    const declared = types.match(/(?<=^export (function|class|const) )\w+/gm)
    const names = [...new Set(declared)].sort()
    expect(JSON.parse(stdout)).toEqual([true, names, names])
    expect(Object.keys(alknet).sort()).toEqual(names)
  })
})

interface Shown {
  code: string
  message: string
  hint: string
  cause: string
}

/** A copy of the installed packages to spoil; gives the folder of the platform's. */
function copy(name: string): { folder: string; addon: string } {
  const folder = join(scratch(), name)
  mkdirSync(folder)
  cpSync(join(app, 'node_modules', '@alkdev'), join(folder, 'node_modules', '@alkdev'), {
    recursive: true,
  })
  return { folder, addon: join(folder, 'node_modules', '@alkdev', `alknet-${platform}`) }
}

/** What `connect()` is rejected with in a folder, after `prelude` has run. */
async function refusal(
  folder: string,
  { prelude = '', flags = [] as string[], env = {} as NodeJS.ProcessEnv } = {},
): Promise<Shown> {
  const code = `${prelude}; require('@alkdev/alknet').connect({ server: '127.0.0.1:1' }).catch(
    ({ code, message, hint, cause }) =>
      console.log(JSON.stringify({ code, message, hint, cause: String(cause) })))`
  const { stdout } = await succeed(folder, process.execPath, [...flags, '-e', code], env)
  const shown = JSON.parse(stdout) as Shown
  expect(shown.code).toBe('ERR_ALKNET_BINDING_NOT_FOUND')
  expect(shown.message).toContain(`; ${shown.hint}`)
  expect(shown.message).not.toContain('\n')
  return shown
}

const runtime = `Node ${process.versions.node}`

describe('without an addon that loads, the error', () => {
  it('asks for optional dependencies when none were installed', async () => {
    const { folder, addon } = copy('omitted')
    rmSync(addon, { recursive: true })
    const { message, hint, cause } = await refusal(folder)
    const { platform: os, arch } = process
    expect(message).toMatch(
      new RegExp(`no addon for ${os} ${arch}(, glibc [\\d.]+|, musl)?, ${runtime}: `),
    )
    expect(message).toContain(
      `@alkdev/alknet-${platform} is not installed beside @alkdev/alknet 0.`,
    )
    expect(hint).toMatch(/--omit=optional.*--no-optional.*lock file/)
    expect(cause).toContain(`Cannot find module '@alkdev/alknet-${platform}`)
  })

  it('knows node_modules of another system, and names what is in them', async () => {
    const { folder, addon } = copy('copied')
    renameSync(addon, join(addon, '..', 'alknet-plan9-x64'))
    const { message, hint } = await refusal(folder)
    expect(message).toContain(`installed: @alkdev/alknet-plan9-x64 ${own.version}`)
    expect(hint).toMatch(/another system.*delete node_modules/)
  })

  it.runIf(process.platform === 'linux')('tells musl from glibc', async () => {
    const { folder, addon } = copy('libc')
    const elsewhere = platform.endsWith('musl') ? platform : platform.replace('gnu', 'musl')
    const other = join(addon, '..', `alknet-${elsewhere.replace('musl', 'gnu')}`)
    if (other !== addon) renameSync(addon, other)
    const prelude = 'process.report.getReport = () => ({ header: {} })'
    const { message } = await refusal(folder, { prelude })
    expect(message).toContain(`, musl, ${runtime}: @alkdev/alknet-${elsewhere} is not installed`)
    expect(message).toContain(`installed: @alkdev/${basename(other)} ${own.version}`)
  })

  it('names both versions when they differ', async () => {
    const { folder, addon } = copy('mismatch')
    const manifest = join(addon, 'package.json')
    writeFileSync(manifest, JSON.stringify({ ...readJson(manifest), version: '99.0.0' }))
    const { message, hint, cause } = await refusal(folder)
    expect(message).toContain(`@alkdev/alknet is of version ${own.version}`)
    expect(message).toContain(`@alkdev/alknet-${platform} 99.0.0`)
    expect(hint).toContain('install again')
    expect(cause).toContain(`version 99.0.0, expected ${own.version}`)
  })

  it('says what the loader said of a damaged file', async () => {
    const { folder, addon } = copy('damaged')
    writeFileSync(join(addon, `alknet.${platform}.node`), 'not an addon')
    const { message, hint, cause } = await refusal(folder)
    expect(message).toContain(`@alkdev/alknet-${platform} does not load (${cause.slice(7)})`)
    expect(hint).toContain('damaged')
  })

  it('knows a glibc that is too old', async () => {
    const said = "libc.so.6: version `GLIBC_2.99' not found (required by alknet)"
    const prelude = `process.dlopen = () => { throw new Error(${JSON.stringify(said)}) }`
    const { message, hint } = await refusal(app, { prelude })
    expect(message).toContain(said)
    expect(hint).toContain('older than the addon needs')
  })

  it('lists the supported platforms on another', async () => {
    const prelude = "Object.defineProperty(process, 'platform', { value: 'plan9' })"
    const { message, hint } = await refusal(app, { prelude })
    expect(message).toContain(`no addon for plan9 ${process.arch}, ${runtime}: none is published`)
    for (const key of supported) expect(hint).toContain(key)
  })

  it('says how Node is told to allow addons', async () => {
    const flag = process.allowedNodeEnvironmentFlags.has('--permission')
      ? '--permission'
      : '--experimental-permission'
    const { hint } = await refusal(app, { flags: [flag, '--allow-fs-read=*'] })
    expect(hint).toContain('--allow-addons')
  })

  it('names ALKNET_BINDING when that is what was tried', async () => {
    const { message, hint } = await refusal(app, { env: { ALKNET_BINDING: 'elsewhere.node' } })
    expect(message).toContain(`ALKNET_BINDING=${join(app, 'elsewhere.node')} does not load`)
    expect(hint).toContain('unset it')
  })
})
