import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { describe, expect, it } from 'vitest'
import { discard } from './support/alknet.js'
import { hear, say } from './support/bytes.js'
import {
  env,
  file,
  listening,
  run,
  secret,
  startAgent,
  startRunner,
  task,
  url,
} from './support/chain.js'
import { scratch } from './support/keys.js'
import { startEcho, startTcp } from './support/net.js'
import { dialHost, type Peer, type } from './support/tunnel.js'

// Shells of the tests read nothing of whoever runs them.
env.HOME = scratch()

const ann = 'ann-0123456789abcd'
const bob = 'bob-0123456789abcd'
const agent = 'agent-5-0123456789'
const hostToken = 'host-0123456789abc'

const taken = {
  agents: { 'kohakuriver-task-5': agent },
  users: {
    host: { token: hostToken },
    ann: { token: ann, tasks: ['5', '6'] },
    bob: { token: bob, tasks: ['5', '6'] },
  },
}

/** A runner with an agent, and a host with its SSH proxy, each with a token file of its own. */
async function start() {
  const ssh = await startTcp((socket) => socket.pipe(socket))
  const [ofRunner, ofHost] = [file(taken), file(taken)]
  const runner = await startRunner('--tokens', ofRunner)
  const served = await startAgent(runner.at, 'kohakuriver-task-5', ...secret(agent))
  const registry = file({
    nodes: { n1: { url: url(runner.at), token: hostToken } },
    tasks: { 5: task(), 6: task({ type: 'vps', ssh_port: ssh.port }) },
  })
  const host = run(
    ...['tunnel', 'host', '--listen', '127.0.0.1:0', '--ssh-listen', '127.0.0.1:0', '--json'],
    ...['--registry', registry, '--tokens', ofHost],
  )
  const at = url(await listening(host))
  const proxy = Number((await listening(host)).split(':').pop())
  return { runner, served, host, ofRunner, ofHost, at, proxy }
}

/** A session of task 5, with an echo at its other end. */
async function session(at: string, token: string, port: number): Promise<Peer> {
  const peer = await dialHost(`${at}/ws/forward/5/${port}`, token)
  expect(await peer.text()).toBe('CONNECTED')
  peer.send({ type: type.connect, id: 1, port })
  await peer.message((message) => message.type === type.connected)
  return peer
}

async function answers(peer: Peer, word: string) {
  peer.send({ type: type.data, id: 1, payload: Buffer.from(word) })
  const { payload } = await peer.message((message) => message.type === type.data)
  expect(`${payload}`).toBe(word)
}

describe('a token that is taken no more', () => {
  it('takes with it what was opened at a host, and nothing of others', async () => {
    const echo = await startEcho()
    const { at, host, ofHost, proxy } = await start()
    const [lost, kept] = [await session(at, ann, echo.port), await session(at, bob, echo.port)]
    const terminal = await dialHost(`${at}/ws/task/5/terminal`, ann)
    await once(terminal.socket, 'open')
    terminal.socket.send('{"type":"resize","rows":24,"cols":80}')
    expect(await terminal.text()).toContain('output')
    const through = async (token: string) => {
      const socket = discard(connect(proxy, '127.0.0.1'))
      socket.write(`REQUEST_TUNNEL 6 ${token}\n`)
      expect(await hear(socket, 8)).toBe('SUCCESS\n')
      return socket
    }
    const [shut, open] = [await through(ann), await through(bob)]
    const { ann: _, ...others } = taken.users
    writeFileSync(ofHost, JSON.stringify({ ...taken, users: others }))
    const reset = once(shut.resume(), 'error')
    host.kill('SIGHUP')
    expect(await reset).toMatchObject([{ code: 'ECONNRESET' }])
    await Promise.all([lost.closed, terminal.closed])
    await answers(kept, 'still here')
    await say(open, open, 'and here')
    const again = await dialHost(`${at}/ws/forward/5/${echo.port}`, ann)
    expect(await again.closed).toMatchObject({ code: 1006 })
    expect(host.stderr.match(/taken no more/g)).toHaveLength(3)
  })

  it('takes with it the agent, whose place another has then', async () => {
    const echo = await startEcho()
    const { at, runner, served, ofRunner } = await start()
    const user = await session(at, ann, echo.port)
    const agents = { 'kohakuriver-task-5': 'agent-7-0123456789' }
    writeFileSync(ofRunner, JSON.stringify({ ...taken, agents }))
    runner.program.kill('SIGHUP')
    await user.message((message) => message.type === type.error)
    await runner.program.complains(/an agent has gone/)
    served.kill('SIGTERM')
    await served.exit
    await startAgent(runner.at, 'kohakuriver-task-5', ...secret('agent-7-0123456789'))
    await answers(await session(at, ann, echo.port), 'by another')
  })
})
