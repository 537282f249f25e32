import { describe, expect, it } from 'vitest'
import { openTunnel } from '../index.js'
import { discard } from './support/alknet.js'
import { say } from './support/bytes.js'
import { env, listening, program, run, startAgent } from './support/chain.js'
import { afterwards } from './support/cleanup.js'
import { natsCluster } from './support/nats.js'
import { startEcho } from './support/net.js'
import { sit } from './support/terminal.js'

async function startRunner(registry: string[]) {
  const server = run('tunnel', 'runner', '--listen', '127.0.0.1:0', '--json', ...registry)
  return { program: server, at: await listening(server) }
}

async function startHost(registry: string[]) {
  const listen = ['--listen', '127.0.0.1:0', '--ssh-listen', 'none', '--json']
  const server = run('tunnel', 'host', ...listen, ...registry)
  return { program: server, at: await listening(server) }
}

/** A session with a task, as soon as the host has heard of it. */
async function reach(host: string, task: number) {
  const tunnel = await openTunnel({
    host,
    task,
    reconnect: { fromTheStart: true, longestPause: 50 },
  })
  afterwards(() => tunnel.close())
  return tunnel
}

describe('runners and hosts with a registry in NATS', () => {
  it('find each other, and lose nothing with a node of NATS or with another runner', async () => {
    const echo = await startEcho()
    const nodes = await natsCluster(3, { jetStream: true })
    const registry = nodes.flatMap((node) => ['--registry', node.url])
    const runners = await Promise.all([startRunner(registry), startRunner(registry)])
    const hosts = await Promise.all([startHost(registry), startHost(registry)])
    const [one, two] = runners.map(({ at }) => at) as [string, string]
    const [first, second] = hosts.map(({ at }) => at) as [string, string]
    await startAgent(one, 'kohakuriver-task-5')
    const moving = await startAgent(two, 'kohakuriver-vps-6')

    // Any host finds any runner.
    const ways = [
      [first, 5],
      [first, 6],
      [second, 5],
      [second, 6],
    ] as const
    const tunnels = await Promise.all(ways.map(([host, task]) => reach(host, task)))
    const streams = await Promise.all(tunnels.map(async (it) => discard(await it.open(echo.port))))
    for (const stream of streams) {
      stream.on('error', () => {}) // its agent goes later
      await say(stream, stream, 'found')
    }
    const status = await fetch(`http://${second}/api/status/6`)
    expect(await status.json()).toEqual({
      task_id: '6',
      task_type: 'vps',
      status: 'running',
      assigned_node: two,
      ssh_port: null,
    })

    const listed = (await (await fetch(`http://${second}/api/tasks`)).json()) as { tasks: object[] }
    expect(listed.tasks).toMatchObject([
      { task_id: '5', agent: true, terminal: true, assigned_node: one },
      { task_id: '6', agent: true, terminal: true, assigned_node: two },
    ])

    // So do terminals.
    for (const [host, task] of ways) {
      const seat = sit([program, 'tunnel', '-H', host, 'connect', `${task}`], { env })
      seat.type(`exit ${task}\r`)
      expect(await seat.ended()).toEqual({ code: task, same: true })
    }

    // A node of NATS is lost, and with it no session; new ones begin.
    nodes[0]?.program.kill('SIGKILL')
    for (const stream of streams) await say(stream, stream, 'goes on')
    const after = discard(await (await reach(first, 6)).open(echo.port))
    after.on('error', () => {})
    await say(after, after, 'begins')

    // An agent that goes to another runner is found there by all.
    moving.kill('SIGTERM')
    await moving.exit
    await startAgent(one, 'kohakuriver-vps-6')
    const moved = discard(await (await reach(second, 6)).open(echo.port))
    await say(moved, moved, 'moved')

    // A runner is lost, and with it no session of the other.
    runners[1]?.program.kill('SIGKILL')
    for (const stream of [streams[0], streams[2], moved]) {
      if (stream) await say(stream, stream, 'stays')
    }
    // Nobody has that task.
    const unknown = await fetch(`http://${first}/api/status/7`)
    expect(unknown.status).toBe(404)
  })

  it('says what is missing', async () => {
    const [plain] = await natsCluster(1)
    for (const [registry, said] of [
      [plain?.url as string, 'nats-server -js'],
      ['nats://127.0.0.1:1', 'cannot connect to NATS'],
    ] as const) {
      const host = run('tunnel', 'host', '--listen', '127.0.0.1:0', '--registry', registry)
      const { code, stderr } = await host.exit
      expect([code === 0, stderr.includes(said)]).toEqual([false, true])
    }
    const every = ['runner', '--listen', '*:0', '--insecure', '--registry', plain?.url as string]
    const runner = run('tunnel', ...every)
    expect((await runner.exit).stderr).toContain('--tokens')
  })
})
