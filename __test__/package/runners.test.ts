import { beforeAll, describe, expect, it } from 'vitest'
import { expectContent, makeProject, type Project } from '../support/project.js'
import { install } from '../support/tools.js'

const tools = { jest: '30.5.2', vitest: '4.1.12' }
const there = (await install(tools)) !== undefined

const esm = `import * as alknet from '@alkdev/alknet'
import suite from './suite.cjs'
`
const cjs = `const alknet = require('@alkdev/alknet')
const suite = require('./suite.cjs')
`
const claim = (name: string) => `${name}('works', () => suite(alknet, process.cwd()), 60_000)\n`
// Two files, so that a worker that is used again loads the package again.
const twice = [1, 2] as const

describe.skipIf(!there)('a project tested by', () => {
  let project: Project
  beforeAll(async () => {
    project = (await makeProject(tools)) as Project
    for (const n of twice) {
      const vitest = `import { it } from 'vitest'\n${esm}${claim('it')}`
      project.write(`vitest${n}.spec.mjs`, vitest)
      project.write(`jest${n}.jest.cjs`, cjs + claim('test'))
      project.write(`jest${n}.jest.mjs`, esm + claim('test'))
      const node = `test('works', { timeout: 60_000 }, () => suite(alknet, process.cwd()))\n`
      project.write(`node${n}.test.mjs`, `import test from 'node:test'\n${esm}${node}`)
      project.write(`node${n}.test.cjs`, `const test = require('node:test')\n${cjs}${node}`)
    }
    project.write('vitest.config.mjs', "export default { test: { include: ['*.spec.mjs'] } }\n")
    for (const kind of ['cjs', 'mjs']) {
      const config = { transform: {}, testMatch: [`**/*.jest.${kind}`], moduleFileExtensions }
      project.write(`jest-${kind}.config.json`, JSON.stringify(config))
    }
  })
  const moduleFileExtensions = ['js', 'cjs', 'mjs', 'json', 'node']

  it.each(['threads', 'forks', 'vmThreads', 'vmForks'])(
    'Vitest in its pool %s, and it ends',
    async (pool) => {
      const args = ['run', '--pool', pool, '--maxWorkers', '1', '--reporter', 'dot']
      const outcome = await project.node(project.tool('vitest/vitest.mjs'), ...args)
      expectContent(outcome)
      expect(outcome.stdout).toMatch(/Tests\s+2 passed/)
      expect(outcome.stdout + outcome.stderr).not.toMatch(/timed out|terminate|hanging/i)
    },
  )

  it('Jest with CommonJS, and it ends', async () => {
    const args = ['--config', 'jest-cjs.config.json', '--runInBand']
    wellFromJest(await project.node(project.tool('jest/bin/jest.js'), ...args))
  })

  it('Jest with CommonJS in workers, and it ends', async () => {
    const args = ['--config', 'jest-cjs.config.json', '--maxWorkers', '2']
    wellFromJest(await project.node(project.tool('jest/bin/jest.js'), ...args))
  })

  it('Jest with ES modules, and it ends', async () => {
    const args = ['--config', 'jest-mjs.config.json', '--runInBand']
    const flags = ['--experimental-vm-modules', '--no-warnings']
    wellFromJest(await project.node(...flags, project.tool('jest/bin/jest.js'), ...args))
  })

  it.each(['mjs', 'cjs'])('node --test with .%s, and it ends', async (kind) => {
    const outcome = await project.node('--test', `node1.test.${kind}`, `node2.test.${kind}`)
    expectContent(outcome)
  })
})

function wellFromJest(outcome: { code: number | null; stdout: string; stderr: string }): void {
  expectContent(outcome)
  expect(outcome.stderr).toMatch(/Tests:\s+2 passed/)
  expect(outcome.stderr).not.toMatch(/did not exit|force exited/i)
}
