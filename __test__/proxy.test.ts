import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { connect as tcp } from 'node:net'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { type AlknetError, connect, openSession, serve } from '../index.js'
import {
  closing,
  discard,
  nextConnection,
  reach,
  rejection,
  sessionPair,
  startServer,
} from './support/alknet.js'
import { say } from './support/bytes.js'
import { afterwards } from './support/cleanup.js'
import { clientKey, hostKey } from './support/keys.js'
import { freePort, startEcho, startTcp } from './support/net.js'
import { describeWith } from './support/peers.js'
import { start } from './support/program.js'
import { startMicrosocks, startTinyproxy } from './support/proxies.js'

const LOGIN = { user: 'me', password: 'p%40ss-word' }

/** Why an attempt failed that used a proxy. */
async function failure(attempt: Promise<unknown>): Promise<AlknetError & { cause?: unknown }> {
  const error = (await rejection(attempt)) as AlknetError
  expect(`${error.message} ${error.hint}`).not.toContain(LOGIN.password)
  return error
}

/** Connects to a new server through `proxy`, and says something both ways. */
async function echoThrough(proxy: string, host = '127.0.0.1'): Promise<void> {
  const server = await startServer({ listen: host === '::1' ? '[::1]:0' : '127.0.0.1:0' })
  const port = server.addresses[0]?.split(':').at(-1)
  const accepted = nextConnection(server)
  const at = host === '::1' ? `[::1]:${port}` : `${host}:${port}`
  const client = discard(await connect({ ...(await reach(server)), server: at, proxy }))
  const { stream } = await accepted
  await say(client, stream, 'there')
  await say(stream, client, 'and back')
}

// tinyproxy reads no % in a password.
const plainLogin = { ...LOGIN, password: LOGIN.password.replace('%', '.') }
const proxies = [
  { peer: 'microsocks', start: startMicrosocks, login: LOGIN },
  { peer: 'tinyproxy', start: startTinyproxy, login: plainLogin },
] as const

for (const { peer, start: startProxy, login } of proxies) {
  describeWith(peer, `connect() through ${peer}`, () => {
    it.each(['127.0.0.1', '::1', 'localhost'])('reaches %s', async (host) => {
      const { url } = await startProxy()
      await echoThrough(url, host)
    })

    it('logs in to it', async () => {
      const { url } = await startProxy({ login })
      await echoThrough(url)
    })

    it('is ERR_ALKNET_PROXY with a wrong password, or none', async () => {
      const { url } = await startProxy({ login })
      const options = await reach(await startServer())
      const wrong = url.replace('me:', 'you:')
      const refused = { code: 'ERR_ALKNET_PROXY', phase: 'tcp' }
      const error = await failure(connect({ ...options, proxy: wrong }))
      expect(error).toMatchObject(refused)
      expect(error.message).not.toContain(login.password)
      const none = await failure(connect({ ...options, proxy: url.replace(/\/\/.*@/, '//') }))
      expect(none).toMatchObject(refused)
    })

    it('says that the server cannot be reached, in the words of the proxy', async () => {
      const { url } = await startProxy()
      const server = `127.0.0.1:${await freePort()}`
      const error = await failure(connect({ ...(await target()), server, proxy: url }))
      expect(error).toMatchObject({ code: 'ERR_ALKNET_PROXY', phase: 'tcp' })
      expect(error.message).toMatch(/connection refused|answered 5\d\d /)
    })

    it('comes back through it', async () => {
      const { url } = await startProxy()
      const { server, session, open } = await sessionPair({ connect: { proxy: url } })
      const { client, peer } = await open()
      const lost = Promise.all([closing(client), closing(peer)])
      const again = once(session, 'up')
      const address = server.addresses[0]
      await server.close()
      await startServer({ listen: `${address}` })
      await Promise.all([again, lost])
    })
  })
}

async function target() {
  const [host, client] = await Promise.all([hostKey(), clientKey()])
  return { server: '127.0.0.1:9', hostKeys: host.fingerprint, identity: client.path }
}

describeWith('microsocks', 'names', () => {
  it('are left to a SOCKS5 proxy', async () => {
    const { url, program } = await startMicrosocks()
    await echoThrough(url, 'localhost')
    await program.complains(/connected to localhost:/)
  })
})

describeWith('tinyproxy', 'a rule of an HTTP proxy', () => {
  it('is its reason', async () => {
    const { url } = await startTinyproxy({ onlyPort: 1 })
    const error = await failure(connect({ ...(await target()), proxy: url }))
    expect(error).toMatchObject({ code: 'ERR_ALKNET_PROXY', reason: 'prohibited' })
    expect(error.message).toContain('403')
  })
})

describe('a proxy that is none', () => {
  it.each(['proxy:3128', 'https://me:p%2540ss-word@proxy:1', 'socks4://proxy:1', 'http://proxy:0'])(
    'is ERR_ALKNET_CONFIG, and not repeated: %s',
    async (proxy) => {
      const refused = { code: 'ERR_ALKNET_CONFIG', phase: 'config' }
      const error = await failure(connect({ ...(await target()), proxy }))
      expect(error).toMatchObject(refused)
      expect(error.message).not.toMatch(/3128|p%25/)
      const authorizedKeys = (await clientKey()).publicPath
      expect(await failure(serve({ listen: '127.0.0.1:0', authorizedKeys, proxy }))).toMatchObject(
        refused,
      )
    },
  )

  it('or not there is ERR_ALKNET_PROXY, and why', async () => {
    const port = await freePort()
    for (const proxy of [`socks5://127.0.0.1:${port}`, `http://127.0.0.1:${port}`]) {
      const error = await failure(connect({ ...(await target()), proxy }))
      expect(error).toMatchObject({ code: 'ERR_ALKNET_PROXY', address: '127.0.0.1', port })
      expect(error.cause).toMatchObject({ code: 'ECONNREFUSED' })
    }
  })

  it('and is silent costs connectTimeout', async () => {
    const { server } = await startTcp((socket) => void socket.resume())
    for (const proxy of [`socks5://${server}`, `http://${server}`]) {
      const attempt = connect({ ...(await target()), proxy, connectTimeout: 100 })
      const error = await failure(attempt)
      expect(error).toMatchObject({ code: 'ETIMEDOUT', phase: 'tcp' })
      expect(error.message).toContain(proxy)
    }
  })

  it.each([
    ['socks5', 'SSH-2.0-x\r\n'],
    ['socks5', '\x05\xff'],
    ['socks5', '\x05\x02'],
    ['socks5', '\x05\x00\x04\x00\x00\x01'],
    ['socks5', '\x05\x00\x05\x00\x00\x09'],
    ['socks5', '\x05\x00\x05\x63\x00\x01'],
    ['socks5', '\x05'],
    ['socks5', ''],
    ['http', ''],
    ['http', 'SSH-2.0-x\r\n'],
    ['http', 'HTTP/1.1 200 OK\r\nX: '],
    ['http', 'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 502 Nope\r\n\r\n'],
    ['http', `HTTP/1.1 200 OK\r\nX: ${'x'.repeat(20_000)}`],
    ['http', `HTTP/1.1 200 OK\r\n${'X: x\r\n'.repeat(100)}\r\n`],
    ['http', 'HTTP/1.1 302 Found\r\nLocation: http://elsewhere/\r\n\r\n'],
  ])('is ERR_ALKNET_PROXY: %s, %j', async (scheme, answer) => {
    const { server } = await startTcp((socket) => void socket.end(answer, 'latin1'))
    const attempt = connect({ ...(await target()), proxy: `${scheme}://${server}` })
    const error = await failure(attempt)
    expect(error).toMatchObject({ code: 'ERR_ALKNET_PROXY', phase: 'tcp' })
    expect(error.message).toMatch(/^proxy \w+:\/\/127\.0\.0\.1:\d+ \w+/)
  })
})

it('bytes that come with the answer of an HTTP proxy belong to the server behind it', async () => {
  const server = await startServer()
  const options = await reach(server)
  const port = Number(options.server.split(':').at(-1))
  const proxy = await startTcp((socket) => {
    socket.once('data', () => {
      const far = tcp(port, '127.0.0.1', () => far.write('SSH-2.0-'))
      far.on('error', () => {})
      afterwards(() => far.destroy())
      // What the client sends is the rest of what was begun in its name.
      far.once('data', (banner) => {
        const head = 'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 299 Fine\r\nVia: x\r\n\r\n'
        socket.write(Buffer.concat([Buffer.from(head), banner]))
        socket.once('data', (hello) => {
          far.write(hello.subarray('SSH-2.0-'.length))
          socket.pipe(far).pipe(socket)
        })
      })
    })
  })
  const accepted = nextConnection(server)
  const client = discard(await connect({ ...options, proxy: `http://${proxy.server}` }))
  await say(client, (await accepted).stream, 'whole')
})

describeWith('microsocks', 'serve() with a proxy', () => {
  it('dials the targets of clients through it, and tells what it says of them', async () => {
    const { url, program } = await startMicrosocks()
    const { session } = await sessionPair({ serve: { forwarding: true, proxy: url } })
    const echo = await startEcho()
    const stream = discard(await session.open(`localhost:${echo.port}`))
    await say(stream, stream, 'echo')
    await program.complains(/connected to localhost:/)
    const error = await failure(session.open(`127.0.0.1:${await freePort()}`))
    expect(error).toMatchObject({ code: 'ECONNREFUSED', phase: 'channel' })
  })
})

describe('serve() with a proxy', () => {
  it('asks it for nothing that the policy forbids', async () => {
    const proxy = await startTcp()
    const url = `socks5://${proxy.server}`
    const { server, session } = await sessionPair({ serve: { forwarding: true, proxy: url } })
    const own = server.addresses[0] ?? ''
    const forbidden = [
      '169.254.169.254:80',
      '[::ffff:169.254.169.254]:80',
      '2852039166:80',
      '0xa9.254.169.254:80',
      '0.0.0.0:80',
      own,
      `localhost:${own.split(':')[1]}`,
    ]
    for (const target of forbidden) {
      expect(await failure(session.open(target))).toMatchObject({ reason: 'prohibited' })
    }
    expect(proxy.sockets.size).toBe(0)
  })

  it('tells its clients nothing of the proxy itself', async () => {
    const port = await freePort()
    const proxy = `http://me:${LOGIN.password}@127.0.0.1:${port}`
    const { session } = await sessionPair({ serve: { forwarding: true, proxy } })
    const error = await failure(session.open('db.internal:5432'))
    expect(error).toMatchObject({ code: 'ERR_ALKNET_CHANNEL_REJECTED', reason: 'connect-failed' })
    expect(`${error.message} ${error.hint}`).not.toContain(`${port}`)
  })

  it('cannot promise publicOnly', async () => {
    const forwarding = { publicOnly: true }
    const error = await failure(startServer({ forwarding, proxy: 'socks5://127.0.0.1:1' }))
    expect(error).toMatchObject({ code: 'ERR_ALKNET_CONFIG' })
    expect(error.message).toContain('publicOnly')
  })
})

describe('the command line', () => {
  const alknet = fileURLToPath(new URL('../native/alknet', import.meta.url))
  const secret = { ...process.env, ALKNET_PROXY: `socks5://me:${LOGIN.password}@127.0.0.1:1` }

  it('neither shows nor repeats the password of a proxy', async () => {
    for (const command of ['connect', 'serve', 'doctor']) {
      const help = spawnSync(alknet, [command, '--help'], { env: secret, encoding: 'utf8' })
      expect(help.stdout).toContain('ALKNET_PROXY')
      expect(help.stdout).not.toContain(LOGIN.password)
    }
    const identity = (await clientKey()).path
    const args = ['connect', 'host', '-i', identity, '--proxy', `x://me:${LOGIN.password}@proxy`]
    const wrong = spawnSync(alknet, args, { encoding: 'utf8' })
    expect(wrong).toMatchObject({ status: 8, stdout: '' })
    expect(wrong.stderr).not.toContain(LOGIN.password)
  })

  describeWith('microsocks', 'with microsocks', () => {
    it('connects through the proxy that a variable names', async () => {
      const { url } = await startMicrosocks({ login: LOGIN })
      const server = await startServer({ forwarding: true })
      const options = await reach(server)
      const echo = await startEcho()
      const args = ['connect', options.server, '-i', `${options.identity}`, '-W', echo.server]
      const env = { ...process.env, ALKNET_PROXY: url, ALKNET_HOST_KEY: server.hostKeyFingerprint }
      const program = start(alknet, args, { env })
      program.stdin.end('through\n')
      expect(await program.line()).toBe('through')
      expect(await program.exit).toMatchObject({ code: 0 })
    })

    it('exits with 3 when the proxy does not connect', async () => {
      const { url } = await startMicrosocks()
      const { identity, hostKeys } = await target()
      const at = `127.0.0.1:${await freePort()}`
      const args = ['connect', at, '-i', identity, '--host-key', hostKeys, '--once', '--no-socks5']
      const done = spawnSync(alknet, [...args, '--proxy', url], { encoding: 'utf8' })
      expect(done.status).toBe(3)
      expect(done.stderr).toMatch(/proxy socks5:\/\/127.* says: connection refused/)
    })
  })
})

it('openSession() takes a proxy too', async () => {
  const attempt = openSession({
    ...(await target()),
    proxy: `http://127.0.0.1:${await freePort()}`,
  })
  expect(await failure(attempt)).toMatchObject({ code: 'ERR_ALKNET_PROXY' })
})
