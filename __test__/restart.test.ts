import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { type Socket, connect as tcpConnect } from 'node:net'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import { openSession } from '../index.js'
import { closing, discard, rejection, sink } from './support/alknet.js'
import { say } from './support/bytes.js'
import { afterwards } from './support/cleanup.js'
import { connectAlknet, type Served, serveAlknet, type Told } from './support/cli.js'
import { clientKey, hostKey, scratch, strangerKey } from './support/keys.js'
import { freePort, startEcho } from './support/net.js'
import { describeWith, peerPath } from './support/peers.js'
import { type Program, start } from './support/program.js'
import { throughSocks } from './support/proxy.js'

const command = promisify(execFile)

/** A Redis of our own that keeps nothing. */
async function startRedis(): Promise<number> {
  const port = await freePort()
  const options = ['--port', `${port}`, '--bind', '127.0.0.1', '--save', '', '--dir', scratch()]
  const program = start(peerPath('redis-server'), [...options, '--loglevel', 'notice'])
  while (!(await program.line()).includes('Ready to accept connections'));
  return port
}

const redis = async (port: number, ...words: string[]) =>
  (await command(peerPath('redis-cli'), ['-p', `${port}`, ...words])).stdout.trim()

/** The same through a SOCKS5 proxy, which redis-cli knows nothing of. */
async function redisThrough(proxy: number, port: number, words: string): Promise<string> {
  const socket = await throughSocks(proxy, port)
  socket.write(`${words}\r\n`)
  const [answer] = await once(socket.resume(), 'data')
  socket.destroy()
  return String(answer).trim()
}

/** Tries until it answers; the test's own limit is the watchdog. */
async function again<T>(attempt: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await attempt()
    } catch {
      await new Promise((resolve) => setImmediate(resolve))
    }
  }
}

async function event(program: Program, name: string): Promise<Told> {
  for (;;) {
    const told = await program.json<Told>()
    if (told.event === name) return told
  }
}

/** Ends it as a crash does, and starts it again on the same port. */
async function crash(served: Served): Promise<void> {
  served.program.kill('SIGKILL')
  await served.program.exit
}

describeWith('redis-server', 'Redis through forwards of a server that is killed', () => {
  it('answers again through -L, -R and SOCKS when the server is back', async () => {
    const port = await startRedis()
    const target = `127.0.0.1:${port}`
    const args = ['--allow-remote-forward']
    const served = await serveAlknet(args)
    const { program, ports } = await connectAlknet(served, [
      ...['-D', '127.0.0.1:0', '-L', `127.0.0.1:0:${target}`, '-R', `0:${target}`],
    ])
    const [proxy, local, remote] = ports as [number, number, number]
    expect(await redis(local, 'SET', 'word', 'kept')).toBe('OK')
    expect(await redis(remote, 'GET', 'word')).toBe('kept')
    expect(await redisThrough(proxy, port, 'INCR times')).toBe(':1')
    const inFlight = discard(tcpConnect(local, '127.0.0.1'))
    await once(inFlight, 'connect')
    inFlight.write('PING\r\n')
    await once(inFlight, 'data')
    const lost = closing(sink(inFlight))
    await crash(served)
    expect(await lost).toMatchObject({ code: 'ECONNRESET' })
    expect(await event(program, 'down')).toMatchObject({ code: expect.stringMatching(/^E/) })
    await serveAlknet(args, { listen: served.server })
    const back = performance.now()
    const ways: [string, () => Promise<string>, string][] = [
      ['-L', () => redis(local, 'GET', 'word'), 'kept'],
      ['-R', () => redis(remote, 'GET', 'word'), 'kept'],
      ['SOCKS', () => redisThrough(proxy, port, 'INCR times'), ':2'],
    ]
    const took = ways.map(async ([way, attempt, expected]) => {
      expect(await again(attempt), way).toBe(expected)
      return `${way} after ${Math.round(performance.now() - back)} ms`
    })
    console.log(`works again once the port is back: ${(await Promise.all(took)).join(', ')}`)
    expect(await event(program, 'up')).toMatchObject({ event: 'up' })
  })
})

describe('a client whose server is back', () => {
  it('with another host key stops and says so, exit code 5', async () => {
    const served = await serveAlknet()
    const { program } = await connectAlknet(served, ['-L', '127.0.0.1:0:127.0.0.1:9'])
    await crash(served)
    await serveAlknet([], { listen: served.server, hostKey: await strangerKey() })
    expect(await event(program, 'error')).toMatchObject({ code: 'ERR_ALKNET_HOST_KEY_CHANGED' })
    expect((await program.exit).code).toBe(5)
  })

  it('with another host key ends its session, with the code', async () => {
    const served = await serveAlknet()
    const session = await openSession({
      server: served.server,
      identity: (await clientKey()).path,
      hostKeys: (await hostKey()).fingerprint,
      reconnect: { longestPause: 50 },
    })
    afterwards(() => session.close())
    const closed = once(session, 'close')
    await crash(served)
    await serveAlknet([], { listen: served.server, hostKey: await strangerKey() })
    const expected = { code: 'ERR_ALKNET_HOST_KEY_CHANGED' }
    expect((await closed)[0]).toMatchObject(expected)
    expect(await rejection(session.open('127.0.0.1:9'))).toMatchObject({
      code: expect.stringMatching(/^ERR_ALKNET_(HOST_KEY_CHANGED|SESSION_CLOSED)$/),
    })
  })
})

describe('a server whose client is killed', () => {
  it('frees the ports it listened on for it, and takes the next client', async () => {
    const [served, echo] = [await serveAlknet(['--allow-remote-forward']), await startEcho()]
    const port = await freePort()
    const listen = ['-R', `127.0.0.1:${port}:${echo.server}`]
    const first = await connectAlknet(served, listen)
    const socket: Socket = discard(tcpConnect(port, '127.0.0.1'))
    await say(socket, socket, 'first')
    const lost = closing(sink(socket))
    first.program.kill('SIGKILL')
    expect(await lost).toMatchObject({ code: 'ECONNRESET' })
    // Whoever comes before the port is free waits for it.
    await again(async () => {
      const next = await connectAlknet(served, [...listen, '--exit-on-forward-failure'])
      return next.told
    })
    const other = discard(tcpConnect(port, '127.0.0.1'))
    await say(other, other, 'second')
  })
})
