import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, it } from 'vitest'
import { expectWell, installAlknet, makeApp } from '../support/app.js'
import { packAll, startRegistry } from '../support/registry.js'
import { install } from '../support/tools.js'

const system = `${process.platform}-${process.arch}`
// Alpine and the like have no builds of Node in the registry.
const node = (version: string) => install({ node: `npm:node-${system}@${version}` })
const [oldest, node20, node22, node24] = [
  await node('20.19.0'),
  await node('20.20.2'),
  await node('22.23.3'),
  await node('24.21.0'),
]
const bun = await install({ bun: '1.4.5' })
const deno = await install({ deno: '2.9.6' })

/** The program of a package that is one of many, each for another system; the one that npm has chosen. */
function chosen(modules: string, scope: string, ...file: string[]): string {
  const [folder = ''] = readdirSync(join(modules, scope)).filter((name) => !name.includes('musl'))
  return join(modules, scope, folder, ...file)
}

const windows = process.platform === 'win32' ? '.exe' : ''
const nodeIn = (modules: string) => join(modules, 'node', 'bin', `node${windows}`)
const bunIn = (modules: string) => chosen(modules, '@oven', 'bin', `bun${windows}`)
const denoIn = (modules: string) => chosen(modules, '@deno', `deno${windows}`)

let app: string
beforeAll(async () => {
  const registry = await startRegistry(await packAll())
  app = await makeApp('app')
  await installAlknet(app, registry)
})

const runtimes = [
  { name: 'Node 20.19, the oldest', modules: oldest, program: nodeIn },
  { name: 'Node 20', modules: node20, program: nodeIn },
  { name: 'Node 22', modules: node22, program: nodeIn },
  { name: 'Node 24', modules: node24, program: nodeIn },
  { name: 'Bun', modules: bun, program: bunIn },
  { name: 'Deno', modules: deno, program: denoIn, flags: ['run', '-A'] },
]

describe.each(runtimes)('in $name', ({ modules, program, flags = [] }) => {
  const run = (file: string) => expectWell(app, program(`${modules}`), ...flags, file)

  it.skipIf(!modules)('it works by import, and the process ends', () => run('import.mjs'))
  it.skipIf(!modules)('it works by require, and the process ends', () => run('require.cjs'))
  it.skipIf(!modules)('it works in worker threads, also in one that is cut off', () =>
    run('worker.mjs'),
  )
})

describe('in Deno', () => {
  it.skipIf(!deno)('it needs no more than these permissions', async () => {
    const allowed = ['--allow-ffi', '--allow-read', '--allow-env', '--allow-sys']
    await expectWell(app, denoIn(`${deno}`), 'run', '--no-prompt', ...allowed, 'import.mjs')
  })
})
