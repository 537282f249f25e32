import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { createServer as createHttpServer } from 'node:http'
import { type AddressInfo, connect as tcpConnect } from 'node:net'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import {
  type AlknetForwardPolicy,
  type AlknetServer,
  type AlknetSession,
  openSession,
} from '../index.js'
import { closing, discard, reach, rejection, sink, startServer } from './support/alknet.js'
import { hear, MiB, receiveAll, say, send, text } from './support/bytes.js'
import { afterwards } from './support/cleanup.js'
import { clientKey, hostKey, scratch } from './support/keys.js'
import { freePort, startEcho, startTcp } from './support/net.js'
import { describeWith, peerPath } from './support/peers.js'
import { start, startNode } from './support/program.js'
import { throughSocks } from './support/proxy.js'
import { startSshd } from './support/sshd.js'

const loopback = '127.0.0.1:0'
const everything: AlknetForwardPolicy = { remote: true, unix: true }

/** A server with this policy and a session to it. */
async function alknet(forwarding: boolean | AlknetForwardPolicy = everything) {
  const server = await startServer({ forwarding })
  const session = await openSession({
    ...(await reach(server)),
    reconnect: { wait: 60_000, longestPause: 50 },
  })
  afterwards(() => session.close())
  return { server, session }
}

/** A session to OpenSSH's server. */
async function openssh() {
  const sshd = await startSshd()
  const [host, client] = [await hostKey(), await clientKey()]
  const session = await openSession({
    server: sshd.server,
    user: sshd.user,
    identity: client.path,
    hostKeys: host.fingerprint,
    reconnect: { wait: 60_000, longestPause: 50 },
  })
  afterwards(() => session.close())
  return { session }
}

function dial(port: number | undefined) {
  return discard(tcpConnect({ port: port ?? 0, host: '127.0.0.1', allowHalfOpen: true }))
}

/** Sends some bytes there and back, then an end each way. */
async function echoes(port: number | undefined, word = 'there and back'): Promise<void> {
  const socket = dial(port)
  await say(socket, socket, word)
  socket.end()
  expect(await text(socket)).toBe('')
}

const peers: [string, () => Promise<{ session: AlknetSession }>][] = [
  ['our server', alknet],
  ['OpenSSH’s server', openssh],
]

for (const [name, peer] of peers) {
  const suite = name === 'our server' ? describe : describeWith.bind(undefined, 'sshd')
  suite(`forwards through ${name}`, () => {
    it('lead from here to there, with real ports and counters', async () => {
      const { session } = await peer()
      const echo = await startEcho()
      const forward = await session.forward({ listen: loopback, target: echo.server })
      expect(forward).toMatchObject({ kind: 'local', closed: false })
      expect(forward.addresses).toEqual([`127.0.0.1:${forward.port}`])
      const socket = dial(forward.port)
      await say(socket, socket, 'there')
      const counted = { bytesUp: 5, bytesDown: 5, active: 1, accepted: 1 }
      const failed = { refused: 0, reset: 0, dropped: 0 }
      // A byte that has arrived is counted a moment later.
      await expect.poll(() => forward.metrics()).toEqual({ ...counted, ...failed })
    })

    it('lead from there to here', async () => {
      const { session } = await peer()
      const echo = await startEcho()
      const forward = await session.remoteForward({ listen: loopback, target: echo.server })
      expect(forward.kind).toBe('remote')
      expect(forward.port).toBeGreaterThan(0)
      expect(forward.addresses).toEqual([`127.0.0.1:${forward.port}`])
      await echoes(forward.port)
      expect(forward.metrics()).toMatchObject({ accepted: 1, bytesUp: 14, bytesDown: 14 })
    })

    it('lead to wherever a SOCKS5 client asks for, by name', async () => {
      const { session } = await peer()
      const echo = await startEcho()
      const proxy = await session.socks5({ listen: loopback })
      expect(proxy.kind).toBe('socks5')
      const socket = await throughSocks(proxy.port ?? 0, echo.port)
      await say(socket, socket, 'there')
    })

    it('keep the other direction open when one has ended', async () => {
      const { session } = await peer()
      const answering = await startTcp(async (socket) => {
        expect(await receiveAll(socket)).toBe(MiB)
        await send(socket, 2 * MiB)
        socket.end()
      })
      const target = answering.server
      const local = await session.forward({ listen: loopback, target })
      const remote = await session.remoteForward({ listen: loopback, target })
      for (const { port } of [local, remote]) {
        const socket = dial(port)
        await send(socket, MiB)
        socket.end()
        expect(await receiveAll(socket)).toBe(2 * MiB)
      }
    })

    it('reset the connection whose target refuses, and no other', async () => {
      const { session } = await peer()
      const echo = await startEcho()
      const [open, proxy] = [
        await session.forward({ listen: loopback, target: echo.server }),
        await session.forward({ listen: loopback, target: `127.0.0.1:${await freePort()}` }),
      ]
      const other = dial(open.port)
      await say(other, other, 'before')
      expect(await closing(sink(dial(proxy.port)))).toMatchObject({ code: 'ECONNRESET' })
      await say(other, other, 'after')
      expect(proxy.metrics()).toMatchObject({ accepted: 1, refused: 1, active: 0 })
    })
  })
}

describe('a forward', () => {
  it('carries fifty connections at once', async () => {
    const { session } = await alknet()
    const echo = await startEcho()
    const forward = await session.forward({ listen: loopback, target: echo.server })
    await Promise.all(Array.from({ length: 50 }, (_, i) => echoes(forward.port, `number ${i}`)))
    expect(forward.metrics()).toMatchObject({ accepted: 50, refused: 0 })
  })

  it('resets what goes beyond maxConnections', async () => {
    const { session } = await alknet()
    const target = (await startEcho()).server
    const forward = await session.forward({ listen: loopback, target, maxConnections: 1 })
    const first = dial(forward.port)
    await say(first, first, 'in')
    expect(await closing(sink(dial(forward.port)))).toMatchObject({ code: 'ECONNRESET' })
    await say(first, first, 'still in')
  })

  it('works again when the server has been started again, of whichever kind', async () => {
    const { server, session } = await alknet()
    const echo = await startEcho()
    const where = { listen: loopback, target: echo.server }
    const [local, remote, proxy] = await Promise.all([
      session.forward(where),
      session.remoteForward(where),
      session.socks5({ listen: loopback }),
    ])
    await Promise.all([echoes(local.port), echoes(remote.port)])
    const { port } = remote
    const [down, up] = [once(session, 'down'), once(session, 'up')]
    await server.close()
    await down
    await startServer({ listen: server.addresses[0] ?? '', forwarding: everything })
    await up
    await echoes(local.port)
    const socket = await throughSocks(proxy.port ?? 0, echo.port)
    await say(socket, socket, 'again')
    expect(remote.port).toBe(port)
    while (!(await answers(port))); // its listener comes a moment after its session
    await echoes(port)
  })

  it('leads from and to Unix sockets', async () => {
    const { session } = await alknet()
    const echo = await startEcho()
    const [far, near] = [join(scratch(), 'far.sock'), join(scratch(), 'near.sock')]
    const inner = await session.forward({ listen: far, target: echo.server })
    const outer = await session.forward({ listen: near, target: far })
    expect(inner).toMatchObject({ addresses: [], port: undefined })
    const socket = discard(tcpConnect(near))
    await say(socket, socket, 'through both')
    expect(outer.metrics().active).toBe(1)
  })

  it('frees its port and resets its connections when closed', async () => {
    const { session } = await alknet()
    const target = (await startEcho()).server
    const forward = await session.forward({ listen: loopback, target })
    const socket = dial(forward.port)
    await say(socket, socket, 'in')
    const ended = closing(sink(socket))
    await Promise.all([forward.close(), forward.close()])
    expect(await ended).toMatchObject({ code: 'ECONNRESET' })
    expect(forward.closed).toBe(true)
    expect(session.closed).toBe(false)
    const listen = `127.0.0.1:${forward.port}`
    await echoes((await session.forward({ listen, target })).port)
  })

  it('is closed at the end of its block', async () => {
    const { session } = await alknet()
    const where = { listen: loopback, target: (await startEcho()).server }
    let ports: (number | undefined)[]
    {
      await using local = await session.forward(where)
      await using remote = await session.remoteForward(where)
      ports = [local.port, remote.port]
      await Promise.all(ports.map((port) => echoes(port)))
    }
    // The server hears of it a moment later.
    for (const port of ports) while (await answers(port));
  })

  it('is closed with its session, and by its signal', async () => {
    const { session } = await alknet()
    const target = (await startEcho()).server
    const controller = new AbortController()
    const { signal } = controller
    const [one, other] = [
      await session.forward({ listen: loopback, target, signal }),
      await session.socks5({ listen: loopback }),
    ]
    controller.abort()
    expect(one.closed).toBe(true)
    await one.close()
    expect(await answers(one.port)).toBe(false)
    expect(other.closed).toBe(false)
    await session.close()
    expect(other.closed).toBe(true)
    expect(await answers(other.port)).toBe(false)
    const late = session.forward({ listen: loopback, target })
    expect(await rejection(late)).toMatchObject({ code: 'ERR_ALKNET_SESSION_CLOSED' })
    const aborted = session.forward({ listen: loopback, target, signal })
    expect(await rejection(aborted)).toMatchObject({ name: 'AbortError' })
  })

  it.each(['forwards-closed', 'forwards-unref'])('lets the process end: %s', async (action) => {
    const { server } = await alknet()
    const program = startNode('linger', [JSON.stringify(await reach(server)), action])
    expect(await program.exit).toMatchObject({ code: 0, stderr: '' })
  })

  it('holds the process until its session is over', async () => {
    const { server } = await alknet()
    const program = startNode('linger', [JSON.stringify(await reach(server)), 'forward-held'])
    expect(await program.line()).toBe('open')
    await server.close()
    expect(await program.line()).toBe('close')
    expect(await program.exit).toMatchObject({ code: 0, stderr: '' })
  })
})

/** Whether anybody listens there. */
async function answers(port: number | undefined): Promise<boolean> {
  const socket = dial(port)
  const answered = await new Promise<boolean>((resolve) => {
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
  })
  socket.destroy()
  return answered
}

describe('a proxy', () => {
  it('wants the login that it was given', async () => {
    const { session } = await alknet()
    const echo = await startEcho()
    const login = { username: 'me', password: 'secret' }
    const proxy = await session.socks5({ listen: loopback, ...login })
    const ask = async (credentials: string) => {
      const socket = dial(proxy.port)
      const basic = Buffer.from(credentials).toString('base64')
      socket.write(`CONNECT localhost:${echo.port} HTTP/1.1\r\nProxy-Authorization: Basic ${basic}`)
      socket.write('\r\n\r\n')
      return hear(socket, 12)
    }
    expect(await ask('me:wrong')).toMatch(/ 407/)
    expect(await ask('me:secret')).toMatch(/ 200/)
  })
})

describeWith('curl', 'curl through a proxy', () => {
  it.each(['socks5h', 'http'])('gets its page by %s', async (scheme) => {
    const { session } = await alknet()
    const web = createHttpServer((request, response) => response.end(`page ${request.url}`))
    await once(web.listen(0, '127.0.0.1'), 'listening')
    afterwards(() => web.close().closeAllConnections())
    const proxy = await session.socks5({ listen: loopback })
    const url = `http://localhost:${(web.address() as AddressInfo).port}/one`
    const via = ['--proxy', `${scheme}://127.0.0.1:${proxy.port}`, '--proxytunnel']
    const curl = start(peerPath('curl'), ['-sS', '--noproxy', '', '-m', '30', ...via, url])
    expect(await curl.line()).toBe('page /one')
    expect((await curl.exit).code).toBe(0)
    expect(proxy.metrics()).toMatchObject({ accepted: 1, refused: 0 })
  })
})

describe('a forward of UDP', () => {
  /** Sends back what comes; what it talks to others with. */
  async function udp(port?: number) {
    const socket = createSocket('udp4')
    afterwards(() => new Promise<void>((resolve) => socket.close(() => resolve())))
    if (port === undefined) {
      socket.on('message', (datagram, from) => socket.send(datagram, from.port, from.address))
      await once(socket.bind(0, '127.0.0.1'), 'listening')
    } else {
      socket.connect(port, '127.0.0.1')
      await once(socket, 'connect')
    }
    return socket
  }

  it.each(['forward', 'remoteForward'] as const)('is a %s like others', async (method) => {
    const { session } = await alknet()
    const target = `udp:127.0.0.1:${(await udp()).address().port}`
    const forward = await session[method]({ listen: loopback, target, udpIdleTimeout: 30_000 })
    const near = await udp(forward.port)
    for (const datagram of [Buffer.from('one'), Buffer.alloc(65_507, 'x')]) {
      near.send(datagram)
      const [answer] = await once(near, 'message')
      expect(datagram.equals(answer)).toBe(true)
    }
    expect(forward.metrics()).toMatchObject({ accepted: 1, active: 1, refused: 0, dropped: 0 })
  })

  it('is refused where the server may not', async () => {
    const { session } = await alknet({ udp: false })
    const attempt = session.open('udp:127.0.0.1:9')
    expect(await rejection(attempt)).toMatchObject({ reason: 'prohibited' })
  })
})

describe('a forward on a Unix socket', () => {
  it('replaces a file that nobody listens on when it is told to', async () => {
    const { session } = await alknet()
    const path = join(scratch(), 'stale.sock')
    const killed = startNode('linger-on-socket', [path])
    expect(await killed.line()).toBe('listening')
    killed.kill('SIGKILL')
    await killed.exit
    const options = { listen: path, target: (await startEcho()).server }
    expect(await rejection(session.forward(options))).toMatchObject({ code: 'EADDRINUSE' })
    await session.forward({ ...options, replaceStaleSocket: true })
    const socket = discard(tcpConnect(path))
    await say(socket, socket, 'replaced')
  })
})

describe('a forward is refused', () => {
  it('with the system’s code when its port is taken', async () => {
    const { session } = await alknet()
    const taken = await startEcho()
    const expected = { code: 'EADDRINUSE', phase: 'listen', syscall: 'listen', port: taken.port }
    for (const attempt of [
      session.forward({ listen: taken.server, target: 'localhost:9' }),
      session.socks5({ listen: taken.server }),
    ]) {
      expect(await rejection(attempt)).toMatchObject(expected)
    }
  })

  it('when the server’s port is taken', async () => {
    const { session } = await alknet()
    const attempt = session.remoteForward({
      listen: (await startEcho()).server,
      target: 'localhost:9',
    })
    expect(await rejection(attempt)).toMatchObject({ code: 'ERR_ALKNET_CHANNEL_REJECTED' })
  })

  it.each<[string, object, string | RegExp]>([
    ['a word for a port', { listen: 'eighty' }, /port/],
    ['a port beyond the last', { listen: '127.0.0.1:65536' }, /65535/],
    ['a target without port', { target: 'localhost' }, /port/],
    ['a target that has no port', { target: 'alknet-control' }, /reserved/],
    ['UDP on a path', { listen: '/tmp/no.sock', target: 'udp:localhost:9' }, /UDP/],
  ])('for %s: ERR_ALKNET_CONFIG', async (_what, wrong, why) => {
    const { session } = await alknet()
    const options = { listen: loopback, target: 'localhost:9', ...wrong }
    for (const attempt of [session.forward(options), session.remoteForward(options)]) {
      const error = await rejection(attempt)
      expect(error).toMatchObject({ code: 'ERR_ALKNET_CONFIG' })
      expect(String(error)).toMatch(why)
    }
  })

  it.each<[unknown, string]>([
    [undefined, 'ERR_INVALID_ARG_TYPE'],
    [{ listen: 0 }, 'ERR_INVALID_ARG_TYPE'],
    [{ target: 'localhost:9' }, 'ERR_INVALID_ARG_TYPE'],
    [{ listen: true, target: 'localhost:9' }, 'ERR_INVALID_ARG_TYPE'],
    [{ listen: 65_536, target: 'localhost:9' }, 'ERR_INVALID_ARG_VALUE'],
    [{ listen: 0, target: 'localhost:9', maxConnections: 0 }, 'ERR_INVALID_ARG_VALUE'],
    [{ listen: 0, target: 'localhost:9', signal: 1 }, 'ERR_INVALID_ARG_TYPE'],
  ])('for %j: TypeError %s', async (options, code) => {
    const { session } = await alknet()
    for (const attempt of [
      session.forward(options as never),
      session.remoteForward(options as never),
    ]) {
      expect(await rejection(attempt)).toMatchObject({ name: 'TypeError', code })
    }
  })

  it('for half a login: TypeError', async () => {
    const { session } = await alknet()
    for (const half of [{ username: 'me' }, { password: 'secret' }]) {
      const error = await rejection(session.socks5({ listen: loopback, ...half }))
      expect(error).toMatchObject({ name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE' })
      expect(String(error)).not.toContain('secret')
    }
  })
})

describe('a server', () => {
  const prohibited = { code: 'ERR_ALKNET_CHANNEL_REJECTED', reason: 'prohibited' }

  async function offers(forwarding: boolean | AlknetForwardPolicy | undefined) {
    const server = await startServer(forwarding === undefined ? {} : { forwarding })
    const session = await openSession(await reach(server))
    afterwards(() => session.close())
    const echo = await startEcho()
    const opened = session.open(echo.server).then(discard)
    const listening = session.remoteForward({ listen: loopback, target: echo.server })
    return { server, session, opened, listening }
  }

  it.each([undefined, false])('forwards nothing with forwarding: %s', async (forwarding) => {
    const { opened, listening } = await offers(forwarding)
    const refused = [rejection(opened), rejection(listening)]
    expect(await refused[0]).toMatchObject(prohibited)
    expect(await refused[1]).toMatchObject({ code: prohibited.code })
  })

  it('dials TCP and does not listen with forwarding: true', async () => {
    const { server, session, opened, listening } = await offers(true)
    const refused = rejection(listening)
    const stream = await opened
    await say(stream, stream, 'there')
    expect(await refused).toMatchObject({ code: prohibited.code })
    for (const target of ['/run/some.sock', '169.254.169.254:80', own(server)]) {
      expect(await rejection(session.open(target)), target).toMatchObject(prohibited)
    }
  })

  it.each<[AlknetForwardPolicy, string]>([
    [{ tcp: false }, 'localhost:9'],
    [{ publicOnly: true }, '127.0.0.1:9'],
    [{ publicOnly: true }, '10.0.0.1:9'],
  ])('does with %j not dial %s', async (policy, target) => {
    const { session } = await alknet(policy)
    expect(await rejection(session.open(target))).toMatchObject(prohibited)
  })

  it('listens for others than this machine with gatewayPorts only', async () => {
    const where = { listen: '0.0.0.0:0', target: 'localhost:9' }
    const { session } = await alknet({ remote: true })
    expect(await rejection(session.remoteForward(where))).toMatchObject({ code: prohibited.code })
    const open = await alknet({ remote: true, gatewayPorts: true })
    expect((await open.session.remoteForward(where)).port).toBeGreaterThan(0)
  })

  it.each([7, 'yes', null, { tcp: 1 }, { linkLocal: 'no' }])(
    'refuses forwarding: %j',
    async (forwarding) => {
      const attempt = startServer({ forwarding: forwarding as never })
      const expected = { name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' }
      expect(await rejection(attempt)).toMatchObject(expected)
    },
  )
})

function own(server: AlknetServer): string {
  return server.addresses[0] ?? ''
}
