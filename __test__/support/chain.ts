import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect } from 'vitest'
import { scratch } from './keys.js'
import { type Program, start } from './program.js'

// The tunnel's own pieces as the processes that they are.

export const program = fileURLToPath(new URL('../../native/alknet', import.meta.url))
/** The agent alone, as images of containers have it. */
export const smallAgent = fileURLToPath(new URL('../../native/tunnel-client', import.meta.url))
export const env: NodeJS.ProcessEnv = {}
for (const [name, value] of Object.entries(process.env)) {
  if (!name.startsWith('ALKNET_')) env[name] = value
}

export const run = (...args: string[]): Program => start(program, args, { env })
export const url = (at: string) => `ws://${at}`

interface Listening {
  addresses: string[]
}

export async function listening(server: Program): Promise<string> {
  const { addresses } = await server.json<Listening>()
  return addresses[0] as string
}

export async function startRunner(...args: string[]) {
  const server = run('tunnel', 'runner', '--listen', '127.0.0.1:0', '--json', ...args)
  return { program: server, at: await listening(server) }
}

let files = 0
export function file(value: unknown): string {
  const name = path.join(scratch(), `tunnel-${files++}.json`)
  writeFileSync(name, JSON.stringify(value))
  return name
}

/** A file with a token, as the option that names it. */
export function secret(token: string): string[] {
  const name = path.join(scratch(), `token-${files++}`)
  writeFileSync(name, `${token}\n`)
  return ['--token-file', name]
}

export const node = (at: string) => ({ n1: { url: url(at) } })
export const task = (more = {}) => ({ type: 'command', status: 'running', node: 'n1', ...more })

export async function startHost(registry: unknown, ...args: string[]) {
  const known = ['--registry', file(registry)]
  const server = run(
    'tunnel',
    'host',
    '--listen',
    '127.0.0.1:0',
    '--ssh-listen',
    'none',
    '--json',
    ...known,
    ...args,
  )
  return { program: server, at: await listening(server) }
}

export async function startAgent(runner: string, name = 'kohakuriver-task-5', ...args: string[]) {
  const agent = run('tunnel', 'agent', '-r', url(runner), '-c', name, '--json', ...args)
  expect(await agent.json()).toMatchObject({ event: 'up' })
  return agent
}

export async function startForward(host: string, port: number, ...args: string[]) {
  const to = ['forward', '5', `${port}`, '--local-port', '0', '--json', ...args]
  const forward = run('tunnel', '--host', url(host), ...to)
  return { program: forward, port: Number((await listening(forward)).split(':').pop()) }
}

/** Runner, host and agent of task 5. */
export async function chain() {
  const runner = await startRunner()
  const [agent, host] = await Promise.all([
    startAgent(runner.at),
    startHost({ nodes: node(runner.at), tasks: { 5: task() } }),
  ])
  return { runner, agent, host, session: (port: number) => `${url(host.at)}/ws/forward/5/${port}` }
}
