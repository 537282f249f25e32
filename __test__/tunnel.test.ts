import { spawnSync } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { existsSync, symlinkSync, writeFileSync } from 'node:fs'
import { connect as tcp } from 'node:net'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { text } from './support/bytes.js'
import {
  chain,
  env,
  file,
  listening,
  node,
  program,
  run,
  secret,
  smallAgent,
  startAgent,
  startForward,
  startHost,
  startRunner,
  task,
  url,
} from './support/chain.js'
import { afterwards } from './support/cleanup.js'
import { clientKey, scratch } from './support/keys.js'
import { freePort, inKernel, startEcho, startTcp } from './support/net.js'
import { start } from './support/program.js'
import { startSshd } from './support/sshd.js'
import { dialHost, startOriginalAgent, startOriginalRunner, type, user } from './support/tunnel.js'

/** Reads to the end, and says which end that was. */
const READER = `
import socket, sys
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as reader:
    reader.recv(1)
    print("data")
    try:
        while reader.recv(65536):
            pass
        print("end")
    except ConnectionResetError:
        print("reset")
`

/** The program under the name of the original's agent. */
function linked(): string {
  const client = path.join(scratch(), 'tunnel-client')
  if (!existsSync(client)) symlinkSync(program, client)
  return client
}

async function roundTrip(port: number, bytes: string): Promise<string> {
  const socket = tcp({ port, host: '127.0.0.1', allowHalfOpen: true })
  socket.end(bytes)
  return text(socket)
}

describe('alknet tunnel', () => {
  it('reaches a port of a container through four processes, half-close included', async () => {
    // Answers once its peer has ended, as what reads to the end does.
    const service = await startTcp((socket) => {
      let all = ''
      socket.setEncoding('utf8').on('data', (piece) => {
        all += piece
      })
      socket.on('end', () => socket.end(`${all.length}:${all.slice(-4)}`))
    })
    const { host, agent, runner } = await chain()
    const forward = await startForward(host.at, service.port)
    const big = 'x'.repeat(3_000_000)
    const [small, large] = await Promise.all([
      roundTrip(forward.port, 'ping'),
      roundTrip(forward.port, `${big}last`),
    ])
    expect([small, large]).toEqual(['4:ping', '3000004:last'])
    for (const piece of [forward.program, host.program, runner.program, agent]) {
      piece.kill('SIGTERM')
      const { code, stderr } = await piece.exit
      expect(code).toBe(0)
      expect(stderr).not.toContain(`${service.port}`)
    }
  })

  it('keeps its listener when the agent and the runner go and come back', async () => {
    const echo = await startEcho()
    const { host, agent, runner } = await chain()
    const forward = await startForward(host.at, echo.port)
    expect(await roundTrip(forward.port, 'before')).toBe('before')
    const open = tcp(forward.port, '127.0.0.1').on('error', () => {})
    open.write('x')
    await once(open, 'data')
    agent.kill('SIGKILL')
    await new Promise((resolve) => open.once('close', resolve))
    expect(await forward.program.json()).toMatchObject({ event: 'down' })
    const again = await startAgent(runner.at)
    expect(await forward.program.json()).toMatchObject({ event: 'up' })
    expect(await roundTrip(forward.port, 'after')).toBe('after')
    again.kill()
  })

  it('serves what an original user asks, and tells refusals in its words', async () => {
    const echo = await startEcho()
    const closed = await freePort()
    const { session } = await chain()
    const peer = await user(session(echo.port))
    peer.send({ type: type.connect, id: 1, port: echo.port })
    // Not waited for, as the original does not.
    peer.send({ type: type.data, id: 1, payload: Buffer.from('early') })
    expect(await peer.message((m) => m.id === 1)).toMatchObject({ type: type.connected, port: 0 })
    expect(await peer.message((m) => m.id === 1)).toMatchObject({ payload: Buffer.from('early') })
    peer.send({ type: type.connect, id: 2, port: closed })
    const refused = await peer.message((m) => m.id === 2)
    expect(refused.type).toBe(type.error)
    expect(`${refused.payload}`).toBe('Connection refused (os error 111)')
    // None of these is a reason to end.
    peer.socket.send('text')
    peer.socket.send(Buffer.alloc(7))
    peer.send({ type: 99, id: 1 })
    peer.send({ type: type.data, id: 7, payload: Buffer.from('nobody') })
    peer.send({ type: type.data, id: 1, payload: Buffer.from('on') })
    expect(await peer.message((m) => m.id === 1)).toMatchObject({ payload: Buffer.from('on') })
    peer.send({ type: type.close, id: 1 })
    peer.socket.close()
    await peer.closed
  })

  it('never mixes two users of one container, who choose the same ids', async () => {
    const echo = await startEcho()
    const { session } = await chain()
    const users = await Promise.all([user(session(echo.port)), user(session(echo.port))])
    for (const peer of users) peer.send({ type: type.connect, id: 1, port: echo.port })
    await Promise.all(users.map((peer) => peer.message((m) => m.type === type.connected)))
    users.forEach((peer, i) => {
      peer.send({ type: type.data, id: 1, payload: Buffer.from(`of user ${i}`) })
    })
    const got = await Promise.all(users.map((peer) => peer.message((m) => m.type === type.data)))
    expect(got.map((m) => `${m.payload}`)).toEqual(['of user 0', 'of user 1'])
    users[0]?.socket.close()
    await users[0]?.closed
    users[1]?.send({ type: type.data, id: 1, payload: Buffer.from('still') })
    expect(`${(await users[1]?.message((m) => m.type === type.data))?.payload}`).toBe('still')
  })

  it('goes through pieces of the original on every side of ours', async () => {
    const service = await startTcp((socket) => {
      socket.once('data', (piece) => socket.end(`got ${piece}`))
    })
    const runner = await startOriginalRunner()
    await startOriginalAgent(runner.url, 'kohakuriver-task-5')
    const registry = { nodes: { n1: { url: runner.url } }, tasks: { 5: task() } }
    const host = await startHost(registry)
    const forward = await startForward(host.at, service.port)
    // The reply to who has ended is not lost.
    expect(await roundTrip(forward.port, 'half')).toBe('got half')
    expect(runner.paths).toContain(`/ws/forward/kohakuriver-task-5/${service.port}?proto=tcp`)

    const ours = await startRunner()
    const agent = await startOriginalAgent(url(ours.at), 'kohakuriver-task-5')
    const second = await startHost({ nodes: node(ours.at), tasks: { 5: task() } })
    const through = await startForward(second.at, service.port)
    expect(await roundTrip(through.port, 'ours')).toBe('got ours')
    const asked = await agent.message((m) => m.type === type.connect)
    expect(asked).toMatchObject({ port: service.port, payload: Buffer.alloc(0) })
    await agent.message((m) => m.type === type.close && m.id === asked.id)
    expect(agent.seen.filter((m) => m.type > type.pong)).toEqual([])
  })

  it('lets a stuck service stop nobody else', async () => {
    const stuck = await startTcp((socket) => socket.pause())
    const echo = await startEcho()
    const { host, session } = await chain()
    const forward = await startForward(host.at, stuck.port)
    const writer = tcp(forward.port, '127.0.0.1').on('error', () => {})
    while (writer.write(Buffer.alloc(65_536)) || writer.writableLength < 8 << 20);
    const beside = await startForward(host.at, echo.port)
    expect(await roundTrip(beside.port, 'moves')).toBe('moves')
    // An original user without credits: bounded, and no longer than a moment.
    const original = await user(session(stuck.port))
    original.send({ type: type.connect, id: 1, port: stuck.port })
    await original.message((m) => m.type === type.connected)
    for (let sent = 0; sent < 24 << 20; sent += 65_536) {
      original.send({ type: type.data, id: 1, payload: Buffer.alloc(65_536) })
    }
    expect(await roundTrip(beside.port, 'moves still')).toBe('moves still')
    writer.destroy()
  })

  it('lets a slow service hold up its own user alone, however little that user knows', async () => {
    const slow = await startTcp((socket) => socket.pause())
    const echo = await startEcho()
    const { host, session } = await chain()
    const original = await user(session(slow.port))
    original.send({ type: type.connect, id: 1, port: slow.port })
    await original.message((m) => m.type === type.connected)
    const total = 12 << 20
    for (let sent = 0; sent < total; sent += 65_536) {
      original.send({ type: type.data, id: 1, payload: Buffer.alloc(65_536, sent / 65_536) })
    }
    original.send({ type: type.close, id: 1 })
    const beside = await startForward(host.at, echo.port)
    const words = Array.from({ length: 20 }, (_, i) => roundTrip(beside.port, `word ${i}`))
    expect(await Promise.all(words)).toEqual(words.map((_, i) => `word ${i}`))
    // All of it comes once the service reads, and then the end.
    const [socket] = slow.sockets
    let came = 0
    let wrong = 0
    for await (const piece of socket ?? []) {
      for (const byte of piece as Buffer) wrong += Number(byte !== ((came++ >> 16) & 255))
    }
    expect([came, wrong]).toEqual([total, 0])
  })

  it('takes from a service no more than a slow user without credits reads', async () => {
    const block = Buffer.alloc(65_536)
    const source = await startTcp((socket) => {
      const more = () => {
        while (!socket.destroyed && socket.write(block));
      }
      socket.on('drain', more)
      more()
    })
    const echo = await startEcho()
    const { host, runner, session } = await chain()
    const begun = source.next()
    const original = await user(session(source.port))
    original.send({ type: type.connect, id: 1, port: source.port })
    const { payload } = await original.message((m) => m.type === type.data)
    original.socket.pause()
    const service = await begun
    const sent = () => service.bytesWritten - service.writableLength
    const beside = await startForward(host.at, echo.port)
    let before = -1
    while (before !== sent()) {
      before = sent()
      for (let i = 0; i < 10; i += 1) expect(await roundTrip(beside.port, 'on')).toBe('on')
    }
    // What the system keeps between the processes, tens of megabytes where it likes to, is not theirs.
    const ports = [source.port, ...[runner.at, host.at].map((at) => Number(at.split(':').pop()))]
    const got = original.seen.reduce((sum, message) => sum + message.payload.length, payload.length)
    const held = before - got - inKernel(ports)
    // A window at the agent, 4 MiB on the way at the host, and what the runner has for its next send.
    expect(held).toBeLessThan(8 << 20)
    original.socket.resume()
    while (sent() === before) await original.message((m) => m.type === type.data)
  })

  it('reaches a service that listens on IPv6 loopback alone', async () => {
    const echo = await startEcho('::1')
    const { host } = await chain()
    const forward = await startForward(host.at, echo.port)
    expect(await roundTrip(forward.port, 'six')).toBe('six')
  })

  it('reaches a UDP service on either loopback, and says that nobody is there', async () => {
    const { session } = await chain()
    for (const [family, address] of [
      ['udp4', '127.0.0.1'],
      ['udp6', '::1'],
    ] as const) {
      const service = createSocket({ type: family, ipv6Only: family === 'udp6' })
      service.on('message', (datagram, from) => service.send(datagram, from.port, from.address))
      service.bind(0, address)
      await once(service, 'listening')
      const { port } = service.address()
      const peer = await user(session(port))
      peer.send({ type: type.connect, proto: 1, id: 1, port })
      peer.send({ type: type.data, proto: 1, id: 1, payload: Buffer.from(address) })
      const answer = await peer.message((m) => m.type === type.data)
      expect(`${answer.payload}`).toBe(address)
      service.close()
      await once(service, 'close')
      peer.send({ type: type.connect, proto: 1, id: 2, port })
      peer.send({ type: type.data, proto: 1, id: 2, payload: Buffer.from('anybody?') })
      const end = await peer.message((m) => m.id === 2 && m.type !== type.connected)
      expect([type.close, type.error]).toContain(end.type)
    }
  })

  it('dials a virtual machine itself, by TCP and UDP', async () => {
    const echo = await startEcho()
    const service = createSocket('udp4')
    service.on('message', (datagram, from) => service.send(datagram, from.port, from.address))
    service.bind(0, '127.0.0.1')
    await once(service, 'listening')
    afterwards(() => service.close())
    const vm = { type: 'vm', status: 'running', address: '127.0.0.1' }
    const host = await startHost({ nodes: {}, tasks: { 5: vm } })
    const forward = await startForward(host.at, echo.port)
    expect(await roundTrip(forward.port, 'to a machine')).toBe('to a machine')
    const udp = await startForward(host.at, service.address().port, '--proto', 'udp')
    const sender = createSocket('udp4')
    afterwards(() => sender.close())
    sender.send('datagram', udp.port, '127.0.0.1')
    expect(`${((await once(sender, 'message')) as [Buffer])[0]}`).toBe('datagram')
    const peer = await user(`${url(host.at)}/ws/forward/5/1`)
    peer.send({ type: type.connect, id: 1, port: await freePort() })
    expect(await peer.message((m) => m.id === 1)).toMatchObject({ type: type.error })
  })

  it('says why there is no session, in the words and codes of the original', async () => {
    const runner = await startRunner()
    const nodes = {
      ...node(runner.at),
      off: { url: url(runner.at), status: 'offline' },
      dead: { url: `ws://127.0.0.1:${await freePort()}` },
    }
    const tasks = {
      1: task({ status: 'completed' }),
      2: task({ node: undefined }),
      3: task({ node: 'nowhere' }),
      4: task({ node: 'off' }),
      5: task(),
      6: task({ node: 'dead' }),
      8: task({ type: 'vps', ssh_port: 2222 }),
    }
    const host = await startHost({ nodes, tasks })
    const cases: [number, string | RegExp, number][] = [
      [7, 'Error: Task 7 not found', 1008],
      [1, 'Error: Task is not running (status: completed)', 1008],
      [2, 'Error: Task 2 has no assigned node', 1008],
      [3, "Error: Runner node 'nowhere' not found", 1008],
      [4, "Error: Runner node 'off' is offline", 1008],
      [5, 'Error: Container tunnel not connected (container=kohakuriver-task-5)', 1011],
      [6, /^Error: Failed to connect to runner: /, 1011],
      [8, 'Error: Container tunnel not connected (container=kohakuriver-vps-8)', 1011],
    ]
    for (const [id, said, code] of cases) {
      const peer = await dialHost(`${url(host.at)}/ws/forward/${id}/80`)
      expect(await peer.text()).toMatch(said)
      expect((await peer.closed).code).toBe(code)
    }
    const odd = await dialHost(`${url(host.at)}/ws/forward/x/80`)
    expect((await odd.closed).code).toBe(1006)
    const status = await fetch(`http://${host.at}/api/status/8`)
    expect(await status.json()).toEqual({
      task_id: '8',
      task_type: 'vps',
      status: 'running',
      assigned_node: 'n1',
      ssh_port: 2222,
    })
    const none = await fetch(`http://${host.at}/api/status/77`)
    expect([none.status, await none.json()]).toEqual([404, { detail: 'Task not found.' }])
  })

  it('replaces an agent safely: the old one ends, the new one stays', async () => {
    const echo = await startEcho()
    const { runner, session } = await chain()
    const old = await startOriginalAgent(url(runner.at), 'kohakuriver-task-9')
    const young = await startOriginalAgent(url(runner.at), 'kohakuriver-task-9')
    expect(await old.closed).toMatchObject({ code: 1008 })
    const direct = `${url(runner.at)}/ws/forward/kohakuriver-task-9/${echo.port}`
    const peer = await user(direct)
    peer.send({ type: type.connect, id: 3, port: echo.port })
    await peer.message((m) => m.id === 3 && m.type === type.connected)
    peer.send({ type: type.data, id: 3, payload: Buffer.from('new') })
    expect(`${(await peer.message((m) => m.id === 3)).payload}`).toBe('new')
    young.socket.terminate()
    expect(await peer.closed).toMatchObject({ code: 1011 })
    expect(session(1)).toContain('/5/1')
  })

  it('wants tokens where there are any, and beyond loopback always', async () => {
    const echo = await startEcho()
    const tokens = file({
      agents: { 'kohakuriver-task-5': 'agent-5-0123456789' },
      users: {
        host: { token: 'host-0123456789abc' },
        ann: { token: 'ann-0123456789abcd', tasks: ['5'] },
      },
    })
    const runner = await startRunner('--tokens', tokens)
    const nodes = { n1: { url: url(runner.at), token: 'host-0123456789abc' } }
    const host = await startHost({ nodes, tasks: { 5: task(), 6: task() } }, '--tokens', tokens)
    const wrong = [
      'agent',
      '-r',
      url(runner.at),
      '-c',
      'kohakuriver-task-5',
      '--max-reconnect',
      '1',
    ]
    const denied = spawnSync(program, ['tunnel', ...wrong, ...secret('agent-6-0123456789')], {
      env,
    })
    expect(denied.status).toBe(1)
    expect(`${denied.stderr}`).not.toContain('agent-6-0123456789')
    await startAgent(runner.at, 'kohakuriver-task-5', ...secret('agent-5-0123456789'))
    const forward = await startForward(host.at, echo.port, ...secret('ann-0123456789abcd'))
    expect(await roundTrip(forward.port, 'known')).toBe('known')
    const args = ['tunnel', '-H', url(host.at), 'forward', '6', '80', '-l', '0']
    expect(spawnSync(program, [...args, ...secret('ann-0123456789abcd')], { env }).status).toBe(4)
    const open = spawnSync(program, ['tunnel', 'runner', '--listen', '*:0'], { env })
    expect(open.status).toBe(8)
    expect(`${open.stderr}`).toContain('--tokens')
  })

  it.each([
    ['that is called by that name', linked],
    ['that is nothing else', () => smallAgent],
  ])("is the original's agent as the program %s", async (_, named) => {
    const echo = await startEcho()
    const client = named()
    const missing = spawnSync(client, ['-c', 'x'], { env, encoding: 'utf8' })
    expect(missing.status).toBe(2)
    const nobody = ['-r', `ws://127.0.0.1:${await freePort()}//`, '-c', 'x', '--max-reconnect', '1']
    const gone = spawnSync(client, nobody, {
      env: { ...env, RECONNECT_DELAY: '0' },
      encoding: 'utf8',
    })
    expect(gone.status).toBe(1)
    const runner = await startOriginalRunner()
    const agent = start(client, ['--log-level', 'info'], {
      env: { ...env, RUNNER_URL: `${runner.url}/base/`, CONTAINER_ID: 'a b' },
    })
    await agent.complains(/connected/)
    expect(runner.paths).toEqual(['/base/ws/tunnel/a%20b'])
    expect(await roundTrip(echo.port, 'same')).toBe('same')
  })

  it('serves 200 users of one agent at once, each with its own bytes', async () => {
    const echo = await startEcho()
    const { session } = await chain()
    const one = async (i: number) => {
      const peer = await user(session(echo.port))
      peer.send({ type: type.connect, id: 1, port: echo.port })
      peer.send({ type: type.data, id: 1, payload: Buffer.from(`user ${i}`) })
      const { payload } = await peer.message((m) => m.type === type.data)
      return `${payload}`
    }
    const got = await Promise.all(Array.from({ length: 200 }, (_, i) => one(i)))
    expect(got).toEqual(Array.from({ length: 200 }, (_, i) => `user ${i}`))
  })

  it('survives malformed messages by the thousand, from users and from agents', async () => {
    const echo = await startEcho()
    const { runner, session } = await chain()
    const stranger = await startOriginalAgent(url(runner.at), 'kohakuriver-task-66')
    const noisy = await user(session(echo.port))
    // Not random, so that a failure comes again.
    let state = 1
    const next = () => {
      state = (state * 48_271) % 2_147_483_647
      return state
    }
    for (let i = 0; i < 5_000; i += 1) {
      const message = Buffer.alloc(next() % 24)
      for (let at = 0; at < message.length; at += 1) message[at] = next() % 24
      // Ids of a few connections, and ports where nobody is.
      if (message.length > 7) message.fill(0, 2, 5).fill(0, 6, 7)
      noisy.socket.send(message)
      stranger.socket.send(message)
    }
    const quiet = await user(session(echo.port))
    quiet.send({ type: type.connect, id: 1, port: echo.port })
    quiet.send({ type: type.data, id: 1, payload: Buffer.from('unharmed') })
    const answer = await quiet.message((m) => m.type === type.data)
    expect(`${answer.payload}`).toBe('unharmed')
    noisy.send({ type: type.connect, id: 4_000_000_000, port: echo.port })
    await noisy.message((m) => m.id === 4_000_000_000 && m.type === type.connected)
  })

  for (const victim of ['agent', 'runner', 'host'] as const) {
    it(`resets what is in flight when the ${victim} is killed, rather than end it`, async () => {
      const source = await startTcp((socket) => {
        const more = () => {
          while (!socket.destroyed && socket.write(Buffer.alloc(65_536)));
        }
        socket.on('drain', more)
        more()
      })
      const pieces = await chain()
      const forward = await startForward(pieces.host.at, source.port)
      // Node takes a reset that meets it in a short read for an end.
      const reader = start('python3', ['-u', '-c', READER, `${forward.port}`])
      expect(await reader.line()).toBe('data')
      const piece = pieces[victim]
      const program = 'program' in piece ? piece.program : piece
      program.kill('SIGKILL')
      expect(await reader.line()).toBe('reset')
      expect(await forward.program.json()).toMatchObject({ event: 'down' })
    })
  }

  it('carries datagrams, whole and never mixed', async () => {
    const service = createSocket('udp4')
    service.on('message', (datagram, from) => service.send(datagram, from.port, from.address))
    service.bind(0, '127.0.0.1')
    await once(service, 'listening')
    afterwards(() => service.close())
    const { host, session } = await chain()
    const forward = await startForward(host.at, service.address().port, '--proto', 'udp')
    const exchange = async (datagram: Buffer) => {
      const socket = createSocket('udp4')
      afterwards(() => socket.close())
      socket.send(datagram, forward.port, '127.0.0.1')
      return ((await once(socket, 'message')) as [Buffer])[0]
    }
    const sent = ['one', 'two', 'x'.repeat(65_507), ''].map((text) => Buffer.from(text))
    const got = await Promise.all(sent.map(exchange))
    expect(got.map((datagram, i) => datagram.equals(sent[i] as Buffer))).not.toContain(false)

    // An original user; what is too long is lost, and its id is not.
    const peer = await user(session(service.address().port))
    const port = service.address().port
    peer.send({ type: type.connect, proto: 1, id: 1, port })
    expect(await peer.message((m) => m.id === 1)).toMatchObject({ type: type.connected, proto: 1 })
    peer.send({ type: type.data, proto: 1, id: 1, payload: Buffer.alloc(65_508) })
    peer.send({ type: type.data, proto: 1, id: 1, payload: Buffer.from('after') })
    const answer = await peer.message((m) => m.id === 1)
    expect(answer).toMatchObject({ type: type.data, proto: 1, payload: Buffer.from('after') })
    peer.send({ type: type.connect, proto: 2, id: 2, port })
    expect(await peer.message((m) => m.id === 2)).toMatchObject({ type: type.error })
  })

  it('takes both orders of arguments', async () => {
    const { host } = await chain()
    const echo = await startEcho()
    for (const order of [
      ['-l', '0', '5', `${echo.port}`],
      ['5', `${echo.port}`, '-l', '0'],
    ]) {
      const forward = run('tunnel', '-H', url(host.at), 'forward', '--json', ...order)
      const port = Number((await listening(forward)).split(':').pop())
      expect(await roundTrip(port, 'either')).toBe('either')
    }
  })

  it('lets others move when a bulk connection is closed in flight', async () => {
    const source = await startTcp((socket) => {
      const more = () => {
        while (!socket.destroyed && socket.write(Buffer.alloc(65_536)));
      }
      socket.on('drain', more)
      more()
    })
    const echo = await startEcho()
    const { session } = await chain()
    const peer = await user(session(echo.port))
    peer.send({ type: type.connect, id: 1, port: source.port })
    peer.send({ type: type.connect, id: 2, port: echo.port })
    await peer.message((m) => m.id === 1 && m.type === type.data)
    peer.send({ type: type.close, id: 1 })
    peer.send({ type: type.data, id: 2, payload: Buffer.from('moves') })
    expect(`${(await peer.message((m) => m.id === 2 && m.type === type.data)).payload}`).toBe(
      'moves',
    )
  })
})

describe('alknet tunnel host, its SSH proxy', () => {
  const proxied = async (tasks: Record<string, unknown>, nodes: Record<string, unknown>) => {
    const known = ['--registry', file({ nodes, tasks }), '--ssh-listen', '127.0.0.1:0']
    const host = run('tunnel', 'host', '--listen', '127.0.0.1:0', '--json', ...known)
    await host.json()
    const proxy = await listening(host)
    return Number(proxy.split(':').pop())
  }

  it('answers in the words of the original', async () => {
    const service = await startTcp((socket) => {
      socket.write('banner\r\n')
      socket.pipe(socket)
    })
    const port = await proxied(
      {
        1: task(),
        2: task({ type: 'vps', status: 'stopped' }),
        3: task({ type: 'vps', node: undefined }),
        4: task({ type: 'vps' }),
        5: task({ type: 'vps', ssh_port: service.port, status: 'paused' }),
        6: task({ type: 'vps', ssh_port: await freePort() }),
        7: task({ type: 'vps', ssh_port: 1, node: 'off' }),
      },
      { ...node('127.0.0.1:1'), off: { url: 'ws://127.0.0.1:1', status: 'offline' } },
    )
    for (const [line, answer] of [
      ['HELLO 5', 'ERROR Invalid request format.\n'],
      ['REQUEST_TUNNEL five', 'ERROR Invalid task ID format.\n'],
      ['REQUEST_TUNNEL 99', 'ERROR Task 99 not found.\n'],
      ['REQUEST_TUNNEL 1', 'ERROR Task 1 is not a VPS task.\n'],
      ['REQUEST_TUNNEL 2', 'ERROR VPS task 2 is not active (status: stopped).\n'],
      ['REQUEST_TUNNEL 3', 'ERROR VPS task 3 has no assigned node.\n'],
      ['REQUEST_TUNNEL 4', 'ERROR VPS task 4 has no SSH port assigned.\n'],
      ['REQUEST_TUNNEL 6', 'ERROR Connection refused by VPS task 6 on node n1.\n'],
      ['REQUEST_TUNNEL 7', 'ERROR Assigned node for VPS task 7 is not online.\n'],
      // What follows the line in one piece belongs to the server.
      ['REQUEST_TUNNEL   5 \r\nearly', 'SUCCESS\nbanner\r\nearly\n'],
    ] as const) {
      expect(await roundTrip(port, `${line}\n`)).toBe(answer)
    }
  })

  it('leads the system’s ssh to a task, with its exit code', async () => {
    const sshd = await startSshd()
    const port = await proxied(
      { 5: task({ type: 'vps', ssh_port: sshd.port }) },
      node('127.0.0.1:1'),
    )
    const key = ['-i', (await clientKey()).path]
    const unknown = ['-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null']
    const words = ['5', '--proxy-port', `${port}`, '-u', sshd.user, ...key, '--', ...unknown]
    for (const command of [['ssh'], ['vps', 'connect']]) {
      const ssh = run('tunnel', ...command, ...words, 'echo from the task; exit 7')
      expect(await ssh.line()).toBe('from the task')
      expect(await ssh.exit).toMatchObject({ code: 7 })
    }
    const none = run('tunnel', 'ssh', '6', '--proxy-port', `${port}`)
    const { code, stderr } = await none.exit
    expect([code, stderr]).toEqual([6, 'error: Task 6 not found. [ERR_ALKNET_CHANNEL_REJECTED]\n'])
    const config = spawnSync(program, ['tunnel', 'ssh-config', '5', '--proxy-port', `${port}`], {
      env,
    })
    const name = path.join(scratch(), 'ssh_config')
    writeFileSync(
      name,
      `${config.stdout}`.replace('ProxyCommand alknet', `ProxyCommand ${program}`),
    )
    const through = ['-F', name, ...key, ...unknown, '-l', sshd.user, 'kohakuriver-vps-5']
    const plain = start('ssh', [...through, 'echo by name'], { env })
    expect(await plain.line()).toBe('by name')
  })
})

describe('alknet tunnel inject', () => {
  it('prints a command that runs what it should, agent and all', async () => {
    const runner = await startRunner()
    const args = [
      'inject',
      '5',
      '-r',
      url(runner.at),
      '--json',
      '--',
      'image',
      'echo',
      "it's",
      'run',
    ]
    const made = spawnSync(program, ['tunnel', ...args], { env, encoding: 'utf8' })
    const { container, mounts, environment, command, docker } = JSON.parse(made.stdout)
    expect(container).toBe('kohakuriver-task-5')
    expect(mounts).toEqual([`${program}:/usr/local/bin/tunnel-client:ro`])
    expect(docker).toContain(`docker run -v ${mounts[0]} -e RUNNER_URL=${url(runner.at)}`)
    expect(docker).toMatch(/ image \/bin\/sh -c '.*' sh echo 'it'\\''s' run$/)
    const [shell, ...rest] = command.map((word: string) =>
      word.replaceAll('/usr/local/bin/tunnel-client', linked()),
    )
    const given = Object.fromEntries(environment.map((pair: string) => pair.split('=')))
    const inside = start(shell, [...rest, 'sh', '-c', 'echo ran; read end'], {
      // The agent outlives its container's shell here, and ends with the runner.
      env: { ...env, ...given, MAX_RECONNECT: '1', RECONNECT_DELAY: '0' },
    })
    expect(await inside.line()).toBe('ran')
    await runner.program.complains(/an agent has come/)
    inside.stdin.end()
  })
})
