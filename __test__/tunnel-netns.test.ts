import { execFileSync, spawnSync } from 'node:child_process'
import { connect as tcp } from 'node:net'
import { describe, expect, it } from 'vitest'
import { openTunnel } from '../index.js'
import { closing, discard } from './support/alknet.js'
import { text } from './support/bytes.js'
import { file, listening, program, run, secret, startHost, task } from './support/chain.js'
import { afterwards } from './support/cleanup.js'
import { type Lack, lackOf, leftOut } from './support/lacking.js'
import { start } from './support/program.js'

const ip = (...words: string[]) => execFileSync('ip', words, { stdio: 'pipe' })

/** What is lacking when this user may not make network namespaces: root may, as a rule. */
function lackOfNamespaces(): Lack | undefined {
  const name = `alknet-${process.pid}-may`
  const tried = spawnSync('ip', ['netns', 'add', name], { encoding: 'utf8' })
  if (tried.status !== 0) return lackOf('netns', tried)
  ip('netns', 'del', name)
  return undefined
}

let made = 0

/** A network of its own, as a container has: loopback, and a wire to this machine. */
function container() {
  made += 1
  const [name, near, far] = ['c', 'n', 'f'].map((sign) => `ak${sign}${made}-${process.pid}`)
  const net = `10.${200 + made}.${process.pid % 250}`
  const inside = (...words: string[]) => ['netns', 'exec', name as string, ...words]
  ip('netns', 'add', name as string)
  afterwards(() => void ip('netns', 'del', name as string))
  ip('link', 'add', near as string, 'type', 'veth', 'peer', 'name', far as string)
  ip('link', 'set', far as string, 'netns', name as string)
  ip('addr', 'add', `${net}.1/24`, 'dev', near as string)
  ip('link', 'set', near as string, 'up')
  ip(...inside('ip', 'addr', 'add', `${net}.2/24`, 'dev', far as string))
  ip(...inside('ip', 'link', 'set', far as string, 'up'))
  ip(...inside('ip', 'link', 'set', 'lo', 'up'))
  return { host: `${net}.1`, address: `${net}.2`, inside }
}

/** On the same port in every container: says who it is. */
const SERVICE = `
import socket, sys
service = socket.create_server(("127.0.0.1", 7000))
print("ready", flush=True)
while True:
    user, _ = service.accept()
    user.sendall(sys.argv[1].encode())
    user.close()
`

const name = 'containers with networks of their own'

describe.skipIf(leftOut(name, lackOfNamespaces()))(name, () => {
  it('are reached by their tasks, on ports that nobody else can reach', async () => {
    const tokens = file({
      agents: { '*': 'agents-0123456789' },
      users: { host: { token: 'host-0123456789abc' } },
    })
    const listen = ['--listen', '*:0', '--tokens', tokens, '--insecure', '--json']
    const runner = run('tunnel', 'runner', ...listen)
    const port = (await listening(runner)).split(':').pop()
    const containers = [5, 6].map((id) => ({ id, ...container() }))
    for (const { id, host, inside } of containers) {
      const service = start('ip', inside('python3', '-u', '-c', SERVICE, `task ${id}`))
      expect(await service.line()).toBe('ready')
      const words = ['-r', `ws://${host}:${port}`, '-c', `kohakuriver-task-${id}`, '--insecure']
      const shown = secret('agents-0123456789')
      const agent = start('ip', inside(program, 'tunnel', 'agent', ...words, ...shown, '--json'))
      expect(await agent.json()).toMatchObject({ event: 'up' })
    }
    const nodes = { n1: { url: `ws://127.0.0.1:${port}`, token: 'host-0123456789abc' } }
    const host = await startHost({ nodes, tasks: { 5: task(), 6: task() } })
    for (const { id, address } of containers) {
      const tunnel = await openTunnel({ host: host.at, task: id })
      afterwards(() => tunnel.close())
      expect(await text(discard(await tunnel.open(7000)))).toBe(`task ${id}`)
      const straight = tcp(7000, address)
      expect(await closing(straight)).toMatchObject({ code: 'ECONNREFUSED' })
    }
  })
})
