import { beforeAll, describe, expect, it } from 'vitest'
import { expectContent, makeProject, type Project } from '../support/project.js'
import { install } from '../support/tools.js'

const tools = {
  '@arethetypeswrong/cli': '0.18.5',
  '@types/node': '20.19.43',
  '@types/pg': '8.23.1',
  ioredis: '6.0.0',
  mysql2: '3.24.6',
  pg: '8.23.1',
  publint: '0.3.25',
  typescript: '5.9.3',
  typescript54: 'npm:typescript@5.4.5',
  undici: '7.30.2',
}
const there = (await install(tools)) !== undefined

const program = `
import { AlknetError, connect, type AlknetStream, type ConnectionInfo } from '@alkdev/alknet'
const opened: Promise<AlknetStream> = connect('alknet://', { user: 'me' })
// @ts-expect-error: a number is no user
const wrong = connect('alknet://', { user: 1 })
export const name: Promise<ConnectionInfo> = opened.then(({ info }) => info)
export const code = (error: unknown) => (error instanceof AlknetError ? error.code : wrong)
`

// What drivers take instead of a socket of their own making.
const drivers = `
import * as http from 'node:http'
import * as net from 'node:net'
import * as tls from 'node:tls'
import type { Duplex } from 'node:stream'
import { connect, type AlknetStream } from '@alkdev/alknet'
import { AbstractConnector, Redis } from 'ioredis'
import { createConnection } from 'mysql2'
import { Client } from 'pg'
import { Agent, buildConnector } from 'undici'
declare const stream: AlknetStream
export const socket: net.Socket = stream
export const duplex: Duplex = stream
export const secure = tls.connect({ socket: stream, servername: 'example.org' })
export const postgres = new Client({ stream: () => stream })
export const mysql = createConnection({ stream: () => stream })
export const agent = new Agent({
  connect: (_options: buildConnector.Options, callback: buildConnector.Callback) => {
    // Undici says that it wants a net.Socket or a TLSSocket.
    const done = (opened: AlknetStream) => callback(null, opened as net.Socket)
    connect('alknet://').then(done, (error) => callback(error, null))
  },
})
export class Connector extends AbstractConnector {
  async connect(): Promise<net.Socket> {
    return stream
  }
}
export const redis = new Redis({ Connector: Connector as never })
export const request = http.request({ createConnection: () => stream })
`

const modes = [
  ['typescript', ['mts', 'cts'], 'nodenext', 'nodenext'],
  ['typescript', ['mts', 'cts'], 'node16', 'node16'],
  ['typescript', ['ts'], 'esnext', 'bundler'],
  ['typescript', ['ts'], 'commonjs', 'node10'],
  ['typescript54', ['mts', 'cts'], 'nodenext', 'nodenext'],
] as const

describe.skipIf(!there)('the types', () => {
  let project: Project
  beforeAll(async () => {
    project = (await makeProject(tools)) as Project
  })

  it.each(modes)(
    'are right without skipLibCheck for %s, %j, --module %s --moduleResolution %s',
    async (typescript, kinds, module, resolution) => {
      const files = kinds.map((kind) => `program.${kind}`)
      for (const file of files) project.write(file, program)
      const args = `--noEmit --strict --exactOptionalPropertyTypes --skipLibCheck false
      --target es2022 --types node --module ${module} --moduleResolution ${resolution}`
      const tsc = project.tool(`${typescript}/bin/tsc`)
      expectContent(await project.node(tsc, ...args.split(/\s+/), ...files))
    },
  )

  it('let a stream be used where drivers want a socket', async () => {
    project.write('drivers.mts', drivers)
    // Not all of the drivers' own declarations are right.
    const args = `--noEmit --strict --skipLibCheck --target es2022 --types node --module nodenext`
    expectContent(
      await project.node(project.tool('typescript/bin/tsc'), ...args.split(' '), 'drivers.mts'),
    )
  })

  it('are not wrong, says @arethetypeswrong/cli', async () => {
    const [main = ''] = project.tarballs.filter((file) => !file.includes('/platforms/'))
    expectContent(await project.node(project.tool('@arethetypeswrong/cli/dist/index.js'), main))
  })

  it('and the manifests are in order, says publint', async () => {
    for (const tarball of project.tarballs) {
      const outcome = await project.node(
        project.tool('publint/src/cli.js'),
        'run',
        tarball,
        '--strict',
      )
      expectContent(outcome)
      expect(outcome.stdout).toContain('All good!')
    }
  })
})
