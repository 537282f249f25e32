import { existsSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { expectWell, installAlknet, makeApp, succeed } from '../support/app.js'
import { builtAddon, packAll, startRegistry } from '../support/registry.js'
import { install } from '../support/tools.js'

const { platform } = builtAddon()
const pnpm = await install({ pnpm: '12.21.0' })
const yarn = await install({ yarn: '1.22.22' })
const berry = await install({ '@yarnpkg/cli-dist': '4.18.1' })
const bun = await install({ bun: '1.4.5' })

let registry: string
beforeAll(async () => {
  registry = await startRegistry(await packAll())
})

/** Installed of ours, in a flat `node_modules`. */
const ours = (app: string) => readdirSync(join(app, 'node_modules', '@alkdev')).sort()

async function works(app: string): Promise<void> {
  await expectWell(app, process.execPath, 'import.mjs')
  await expectWell(app, process.execPath, 'require.cjs')
  await expectWell(app, process.execPath, 'worker.mjs')
}

describe('installed into an empty folder by', () => {
  it('npm: this platform’s addon comes along and no other', async () => {
    const app = await makeApp('with-npm')
    await installAlknet(app, registry)
    expect(ours(app)).toEqual(['alknet', `alknet-${platform}`])
    await works(app)
  })

  it.skipIf(!pnpm)('pnpm', async () => {
    const app = await makeApp('with-pnpm')
    const program = join(`${pnpm}`, 'pnpm', 'bin', 'pnpm.mjs')
    const store = ['--store-dir', join(app, '.store')]
    const args = [program, 'add', '@alkdev/alknet', '--registry', registry, ...store]
    await succeed(app, process.execPath, args)
    await works(app)
  })

  it.skipIf(!yarn)('Yarn 1', async () => {
    const app = await makeApp('with-yarn')
    const program = join(`${yarn}`, 'yarn', 'bin', 'yarn.js')
    writeFileSync(join(app, '.yarnrc'), `registry "${registry}"\ncache-folder ".cache"\n`)
    await succeed(app, process.execPath, [program, 'add', '@alkdev/alknet', '--registry', registry])
    await works(app)
  })

  it.skipIf(!berry).each(['node-modules', 'pnp'])('Yarn 4 with %s', async (linker) => {
    const app = await makeApp(`with-yarn4-${linker}`)
    const program = join(`${berry}`, '@yarnpkg', 'cli-dist', 'bin', 'yarn.js')
    const lines = [
      `npmRegistryServer: "${registry}"`,
      'unsafeHttpWhitelist: ["127.0.0.1"]',
      // Not what another run has left there, of the same version and another build.
      'globalFolder: ".global"',
      'enableGlobalCache: false',
      'enableTelemetry: false',
      // Nothing here is older than the days that a new release has to wait.
      'npmMinimalAgeGate: 0',
      `nodeLinker: ${linker}`,
    ]
    writeFileSync(join(app, '.yarnrc.yml'), lines.join('\n'))
    writeFileSync(join(app, 'yarn.lock'), '')
    await succeed(app, process.execPath, [program, 'add', '@alkdev/alknet'])
    if (linker === 'node-modules') await works(app)
    else {
      expect(existsSync(join(app, 'node_modules', '@alkdev'))).toBe(false)
      const run = [program, 'node']
      await expectWell(app, process.execPath, ...run, 'import.mjs')
      await expectWell(app, process.execPath, ...run, 'require.cjs')
    }
  })

  it.skipIf(!bun)('Bun', async () => {
    const app = await makeApp('with-bun')
    const [folder] = readdirSync(join(`${bun}`, '@oven')).filter((name) => !name.includes('musl'))
    const program = join(`${bun}`, '@oven', `${folder}`, 'bin', 'bun')
    const cache = ['--cache-dir', join(app, '.cache')]
    await succeed(app, program, ['add', '@alkdev/alknet', '--registry', registry, ...cache])
    await works(app)
  })
})
