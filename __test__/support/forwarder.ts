import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync } from 'node:fs'
import { createServer, request } from 'node:http'
import { type AddressInfo, connect as tcp } from 'node:net'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { discard } from './alknet.js'
import { text } from './bytes.js'
import { afterwards } from './cleanup.js'
import { scratch } from './keys.js'
import { type Program, start } from './program.js'

export const file = (name: string) => fileURLToPath(new URL(`../../${name}`, import.meta.url))

/** The two ways to have the command line share one state. */
export const binary = [file('native/alknet')]
export const npm = [process.execPath, file('bin/alknet.js')]

/** Answers of `alknet forward`. */
export interface Envelope {
  success: boolean
  content: { type: string; data: Item & { items: Item[] } }[]
  error?: { code: string; message: string; suggestion?: string }
}

export interface Item {
  status: string
  message: string
  success: boolean
  id: string
  name?: string
  pid: number
  port: number
  listen_host: string
  listen_port: number
  target_host: string
  target_port: number
  started_at: string
  uptime: string
  log_file: string
  state_file: string
  fault?: string
  warning?: string
  connections: { active: number; accepted: number; refused: number }
  bytes: { up: number; down: number }
  last_error: string | null
  target_reachable: boolean | null
}

/** A home of its own, all of whose forwarders are gone when the test is over. */
export function home() {
  const root = mkdtempSync(path.join(scratch(), 'home-'))
  const env: NodeJS.ProcessEnv = { ALKNET_HOME: root }
  for (const [name, value] of Object.entries(process.env)) {
    if (!name.startsWith('ALKNET_')) env[name] = value
  }
  const words = (program: readonly string[], args: readonly string[]) =>
    [program[0] as string, [...program.slice(1), 'forward', ...args]] as const
  const run = (args: readonly string[], program = binary, more: NodeJS.ProcessEnv = {}) => {
    const [command, rest] = words(program, args)
    return spawnSync(command, rest, { env: { ...env, ...more }, encoding: 'utf8', input: '' })
  }
  const json = (args: readonly string[], program = binary, more: NodeJS.ProcessEnv = {}) => {
    const done = run(args, program, more)
    if (!done.stdout) throw new Error(`${args.join(' ')}: ${done.status} ${done.stderr}`)
    const envelope = JSON.parse(done.stdout) as Envelope
    const data = envelope.content[0]?.data as Item & { items: Item[] }
    return { ...done, envelope, data }
  }
  const background = (args: readonly string[], program = binary): Program => {
    const [command, rest] = words(program, args)
    return start(command, rest, { env, lines: false })
  }
  afterwards(() => {
    run(['kill', '--all'])
  })
  return { root, env, run, json, background, state: path.join(root, 'forwarders') }
}

/** The one thing that an answer is about. */
export function told(answer: string): Item {
  const [content] = (JSON.parse(answer) as Envelope).content
  if (!content) throw new Error(answer)
  return content.data
}

export const there = (port: number) => String(port)

/** What comes back of `said` through `port`, both ends closed properly. */
export async function through(port: number, said: string, host = '127.0.0.1'): Promise<string> {
  const socket = discard(tcp(port, host))
  socket.end(said)
  return text(socket)
}

/** An HTTP service of the kind that the forwarder is for: /health, and /mcp, which streams. */
export async function service() {
  const server = createServer((asked, answer) => {
    if (asked.url === '/health') return void answer.end('{"ok":true}')
    answer.writeHead(200, { 'content-type': 'text/event-stream' })
    answer.write('data: first\n\n')
    // The second event goes out when the first has arrived: an answer that is held back stops here for ever.
    asked.on('data', () => {}).on('end', () => answer.end('data: second\n\n'))
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  afterwards(() => {
    server.closeAllConnections()
    server.close()
  })
  return (server.address() as AddressInfo).port
}

/** A POST whose body ends only once the first event of the answer is there. */
export async function streamingPost(port: number): Promise<string> {
  const asking = request({ port, host: '127.0.0.1', path: '/mcp', method: 'POST', agent: false })
  asking.write('{')
  const [answer] = await once(asking, 'response')
  let heard = ''
  for await (const chunk of answer.setEncoding('utf8')) {
    if (heard === '') asking.end('}')
    heard += chunk
  }
  return heard
}

export async function get(port: number, at: string): Promise<string> {
  const asking = request({ port, host: '127.0.0.1', path: at, agent: false }).end()
  const [answer] = await once(asking, 'response')
  return text(answer)
}
