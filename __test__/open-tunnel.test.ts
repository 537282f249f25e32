import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { connect as tcp } from 'node:net'
import { describe, expect, it } from 'vitest'
import { type AlknetTunnel, type AlknetTunnelOptions, openTunnel } from '../index.js'
import { closing, discard, rejection, sink } from './support/alknet.js'
import { MiB, receive, receiveAll, say, send, text } from './support/bytes.js'
import {
  chain,
  file,
  node,
  secret,
  startAgent,
  startHost,
  startRunner,
  task,
  url,
} from './support/chain.js'
import { afterwards } from './support/cleanup.js'
import { freePort, startEcho, startTcp } from './support/net.js'

async function open(options: AlknetTunnelOptions): Promise<AlknetTunnel> {
  const tunnel = await openTunnel(options)
  afterwards(() => tunnel.close())
  return tunnel
}

/** The whole chain, and a session with its task. */
async function through(options?: Partial<AlknetTunnelOptions>) {
  const pieces = await chain()
  return { ...pieces, tunnel: await open({ host: pieces.host.at, task: 5, ...options }) }
}

async function echoed(tunnel: AlknetTunnel, port: number, word: string): Promise<void> {
  const stream = discard(await tunnel.open(port))
  await say(stream, stream, word)
}

describe('openTunnel()', () => {
  it('gives streams to ports of a container, each with half-close and its own bytes', async () => {
    const service = await startTcp((socket) => {
      let all = 0
      socket.on('data', (piece) => {
        all += piece.length
      })
      socket.on('end', () => socket.end(`${all}`))
    })
    const { tunnel } = await through()
    const answers = [3 * MiB, 1, 0, 70_000].map(async (total) => {
      const stream = discard(await tunnel.open(service.port))
      await send(stream, total)
      stream.end()
      return text(stream)
    })
    expect(await Promise.all(answers)).toEqual([`${3 * MiB}`, '1', '0', '70000'])
    const stream = discard(await tunnel.open(service.port))
    expect(stream.info).toMatchObject({
      transport: 'tunnel',
      target: `localhost:${service.port}`,
      remoteAddress: undefined,
    })
    expect(tunnel).toMatchObject({ up: true, closed: false })
    const metrics = tunnel.metrics()
    expect(metrics).toMatchObject({ up: true, sessions: 1, opened: 5, refused: 0, openStreams: 1 })
    expect(metrics).toMatchObject({ bytesSent: 3 * MiB + 70_001, bytesReceived: 14 })
  })

  it('carries much both ways at once, past a reader who has stopped', async () => {
    const echo = await startEcho()
    const { tunnel } = await through()
    const stuck = discard(await tunnel.open(echo.port))
    let written = 0
    while (written < 8 * MiB && (stuck.write(Buffer.alloc(65_536)) || written < 4 * MiB)) {
      written += 65_536
    }
    const moving = discard(await tunnel.open(echo.port))
    const back = receive(moving, 8 * MiB)
    await send(moving, 8 * MiB)
    await back
    moving.end()
    expect(await receiveAll(moving)).toBe(0)
  })

  it('says what is wrong, by code', async () => {
    const { tunnel, host } = await through()
    expect(await rejection(tunnel.open(await freePort()))).toMatchObject({
      code: 'ECONNREFUSED',
      phase: 'channel',
    })
    const cases: [AlknetTunnelOptions, string][] = [
      [{ host: host.at, task: 77 }, 'ERR_ALKNET_CHANNEL_REJECTED'],
      [{ host: `127.0.0.1:${await freePort()}`, task: 5 }, 'ECONNREFUSED'],
      [{ host: 'ws://192.0.2.1:8000', task: 5 }, 'ERR_ALKNET_CONFIG'],
      [{ host: 'ftp://there', task: 5 }, 'ERR_ALKNET_CONFIG'],
      [{ host: host.at, task: 'five' }, 'ERR_INVALID_ARG_VALUE'],
      [{ host: host.at, task: -1 }, 'ERR_INVALID_ARG_VALUE'],
      [{ host: host.at } as AlknetTunnelOptions, 'ERR_INVALID_ARG_TYPE'],
    ]
    for (const [options, code] of cases) {
      expect(await rejection(openTunnel(options))).toMatchObject({ code })
    }
    expect(await rejection(tunnel.open(0))).toMatchObject({ code: 'ERR_INVALID_ARG_VALUE' })
    expect(await rejection(tunnel.open('80' as never))).toMatchObject({
      code: 'ERR_INVALID_ARG_TYPE',
    })
    expect(await rejection(tunnel.forward({} as never))).toMatchObject({
      code: 'ERR_INVALID_ARG_TYPE',
    })
    const abort = new AbortController()
    const aborted = tunnel.open(80, { signal: abort.signal })
    abort.abort()
    expect(await rejection(aborted)).toMatchObject({ name: 'AbortError' })
  })

  it('shows its token, and says when that is the wrong one', async () => {
    const echo = await startEcho()
    const agents = { '*': 'agents-0123456789' }
    const users = { host: { token: 'host-0123456789abc' }, ann: { token: 'ann-0123456789abcd' } }
    const tokens = ['--tokens', file({ agents, users })]
    const runner = await startRunner(...tokens)
    const nodes = { n1: { url: url(runner.at), token: 'host-0123456789abc' } }
    const host = await startHost({ nodes, tasks: { 5: task() } }, ...tokens)
    await startAgent(runner.at, 'kohakuriver-task-5', ...secret('agents-0123456789'))
    const wrong = openTunnel({ host: host.at, task: 5, token: 'bob-0123456789abcd' })
    expect(await rejection(wrong)).toMatchObject({ code: 'ERR_ALKNET_AUTH_REJECTED' })
    const tunnel = await open({ host: host.at, task: 5, token: 'ann-0123456789abcd' })
    await echoed(tunnel, echo.port, 'known')
  })

  it('fails what is open when the session is lost, and comes back by itself', async () => {
    const echo = await startEcho()
    const { tunnel, agent, runner } = await through()
    const told: string[] = []
    tunnel.on('down', ({ code }) => told.push(code)).on('up', () => told.push('up'))
    const before = discard(await tunnel.open(echo.port))
    await say(before, before, 'before')
    const lost = closing(sink(before))
    const down = once(tunnel, 'down')
    agent.kill('SIGKILL')
    expect(await lost).toMatchObject({ code: 'ECONNRESET' })
    await down
    const waiting = tunnel.open(echo.port)
    await startAgent(runner.at)
    const after = discard(await waiting)
    await say(after, after, 'after')
    expect(told.at(-1)).toBe('up')
    expect(tunnel.metrics()).toMatchObject({ sessions: 2, up: true })
  })

  it('ends for good when it is not to come back', async () => {
    const echo = await startEcho()
    const { tunnel, host } = await through({ reconnect: false })
    const stream = discard(await tunnel.open(echo.port))
    await say(stream, stream, 'before')
    const [closed, lost] = [once(tunnel, 'close'), closing(sink(stream))]
    host.program.kill('SIGKILL')
    expect(await lost).toMatchObject({ code: 'ERR_ALKNET_SESSION_CLOSED' })
    expect(await closed).toMatchObject([{ code: 'ERR_ALKNET_SESSION_CLOSED' }])
    expect(await rejection(tunnel.open(80))).toMatchObject({ code: 'ERR_ALKNET_SESSION_CLOSED' })
  })

  it('waits for a container that is not there yet, when asked to', async () => {
    const echo = await startEcho()
    const runner = await startRunner()
    const host = await startHost({ nodes: node(runner.at), tasks: { 5: task() } })
    const opening = openTunnel({ host: host.at, task: 5, reconnect: { fromTheStart: true } })
    await startAgent(runner.at)
    const tunnel = await opening
    afterwards(() => tunnel.close())
    await echoed(tunnel, echo.port, 'late')
  })

  it('resets what is reset in the container, and nothing else', async () => {
    const service = await startTcp((socket) => {
      socket.write('x')
      socket.once('data', () => socket.resetAndDestroy())
    })
    const echo = await startEcho()
    const { tunnel } = await through()
    const beside = discard(await tunnel.open(echo.port))
    const stream = discard(await tunnel.open(service.port))
    await once(stream, 'readable')
    const ended = closing(sink(stream))
    stream.write('y')
    expect(await ended).toMatchObject({ code: 'ECONNRESET' })
    await say(beside, beside, 'unharmed')
  })

  it('forwards TCP and UDP from ports here, and closes them with itself', async () => {
    const echo = await startEcho()
    const service = createSocket('udp4')
    service.on('message', (datagram, from) => service.send(datagram, from.port, from.address))
    service.bind(0, '127.0.0.1')
    await once(service, 'listening')
    afterwards(() => service.close())
    const { tunnel } = await through()
    const forward = await tunnel.forward({ port: echo.port })
    const socket = discard(tcp(forward.port as number, '127.0.0.1'))
    await say(socket, socket, 'through')
    expect(forward).toMatchObject({ kind: 'local', closed: false })
    const udp = await tunnel.udp({ port: service.address().port, listen: '127.0.0.1:0' })
    const sender = createSocket('udp4')
    afterwards(() => sender.close())
    sender.send('datagram', udp.port as number, '127.0.0.1')
    const [answer] = (await once(sender, 'message')) as [Buffer]
    expect(`${answer}`).toBe('datagram')
    const ended = closing(sink(socket))
    await tunnel.close()
    expect([forward.closed, udp.closed, tunnel.closed, tunnel.up]).toEqual([
      true,
      true,
      true,
      false,
    ])
    await ended
    expect(await rejection(tunnel.open(echo.port))).toMatchObject({
      code: 'ERR_ALKNET_SESSION_CLOSED',
    })
  })

  it('lets go of streams that are over, however many there were', async () => {
    const echo = await startEcho()
    const { tunnel } = await through()
    for (let round = 0; round < 20; round += 1) {
      const words = Array.from({ length: 25 }, async () => {
        const stream = discard(await tunnel.open(echo.port))
        stream.end('word')
        return text(stream)
      })
      expect(new Set(await Promise.all(words))).toEqual(new Set(['word']))
    }
    const stream = discard(await tunnel.open(echo.port))
    stream.destroy()
    await once(stream, 'close')
    expect(tunnel.metrics()).toMatchObject({ opened: 501, openStreams: 0 })
  })
})
