import { beforeAll, describe, expect, it } from 'vitest'
import { expectContent, makeProject, type Project } from '../support/project.js'
import { install } from '../support/tools.js'

const tools = { esbuild: '0.28.2', webpack: '5.112.2' }
const there = (await install(tools)) !== undefined

const esbuild = `import { build } from 'esbuild'
await build({ platform: 'node', bundle: true, logLevel: 'warning', ...JSON.parse(process.argv[2]) })
`
const webpack = `import webpack from 'webpack'
const { entry, filename } = JSON.parse(process.argv[2])
const config = { mode: 'production', target: 'node', entry, output: { path: process.cwd(), filename } }
webpack(config, (error, stats) => {
  if (error) throw error
  const { errors, warnings } = stats.toJson()
  for (const { message } of [...errors, ...warnings]) console.error(message)
  process.exitCode = errors.length + warnings.length
})
`

describe.skipIf(!there)('a program bundled by', () => {
  let project: Project
  beforeAll(async () => {
    project = (await makeProject(tools)) as Project
    project.write('esbuild.mjs', esbuild)
    project.write('webpack.mjs', webpack)
  })

  async function bundle(tool: string, options: object): Promise<void> {
    const outcome = await project.node(`${tool}.mjs`, JSON.stringify(options))
    expectContent(outcome)
    expect(outcome.stderr).toBe('')
  }

  async function works(file: string): Promise<void> {
    const outcome = await project.node(file)
    expect(outcome).toEqual({ code: 0, stdout: 'all is well\n', stderr: '' })
  }

  const external = ['./suite.cjs']
  const esm = { entryPoints: ['import.mjs'], format: 'esm', external }

  it('esbuild, with packages left outside, works', async () => {
    await bundle('esbuild', { ...esm, packages: 'external', outfile: 'outside.mjs' })
    await works('outside.mjs')
  })

  it('esbuild into CommonJS, alknet and all, works beside the node_modules', async () => {
    const options = { entryPoints: ['require.cjs'], format: 'cjs', minify: true }
    await bundle('esbuild', { ...options, outfile: 'bundled.cjs' })
    await works('bundled.cjs')
  })

  it('esbuild into an ES module, alknet and all, works beside the node_modules if it has a require', async () => {
    const js = `import { createRequire } from 'node:module'; const require = createRequire(import.meta.url)`
    await bundle('esbuild', { ...esm, banner: { js }, outfile: 'bundled.mjs' })
    await works('bundled.mjs')
  })

  it('webpack for Node, alknet and all, works beside the node_modules', async () => {
    await bundle('webpack', { entry: './require.cjs', filename: 'packed.cjs' })
    await works('packed.cjs')
  })
})
