import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { describe, expect, it } from 'vitest'
import {
  type AlknetConnectOptions,
  AlknetError,
  type AlknetSession,
  connect,
  createAlknetEventTarget,
  openSession,
  openTunnel,
  serve,
} from '../index.js'
import {
  closing,
  discard,
  nextConnection,
  reach,
  rejection,
  startServer,
} from './support/alknet.js'
import { say } from './support/bytes.js'
import { afterwards } from './support/cleanup.js'
import { clientKey, hostKey, makeKey, strangerKey } from './support/keys.js'
import { freePort, startFaultyLink, startTcp } from './support/net.js'
import { startSsh2 } from './support/ssh2-server.js'

/** Options that are right but for what a test changes. */
async function options(server: string): Promise<AlknetConnectOptions> {
  const [host, client] = await Promise.all([hostKey(), clientKey()])
  return { server, hostKeys: host.fingerprint, identity: client.path }
}

/** Why `connect()` fails; always an AlknetError with a message. */
async function failure(attempt: Promise<unknown>): Promise<AlknetError> {
  const error = await rejection(attempt)
  expect(error).toBeInstanceOf(AlknetError)
  expect(error).toBeInstanceOf(Error)
  expect(String(error)).toMatch(/\w+ \w+/)
  return error as AlknetError
}

describe('an option that there is not', () => {
  it.each([
    [{ idenity: 'client_key' }, 'options.idenity', 'options.identity'],
    [{ host: 'localhost', port: 22 }, 'options.host', 'options.server'],
    [{ privateKey: 'x' }, 'options.privateKey', 'options.identity'],
    [{ keepalive: { intervall: 1 } }, 'options.keepalive.intervall', 'options.keepalive.interval'],
    [
      { jump: [{ server: 'a', hostKey: 'x' }] },
      'options.jump[0].hostKey',
      'options.jump[0].hostKeys',
    ],
  ])('is refused, with the one that was meant: %j', async (wrong, named, meant) => {
    const whole = { ...(await options('127.0.0.1:1')), ...wrong } as AlknetConnectOptions
    for (const attempt of [connect(whole), openSession(whole)]) {
      const error = await failure(attempt)
      expect(error).toMatchObject({ code: 'ERR_ALKNET_CONFIG', phase: 'config' })
      expect(error.message).toBe(`there is no option ${named}: did you mean ${meant}?`)
    }
  })

  it('is refused by serve(), where it would let in who should not', async () => {
    const authorizedKeys = (await clientKey()).publicPath
    const listen = '127.0.0.1:0'
    for (const [wrong, message] of [
      [{ revokedKey: 'x' }, 'options.revokedKey: did you mean options.revokedKeys?'],
      [
        { limits: { maxSession: 1 } },
        'options.limits.maxSession: did you mean options.limits.maxSessions?',
      ],
      [{ forwarding: { public: true } }, 'options.forwarding.public'],
      [{ zzz: 1 }, 'options.zzz'],
    ] as const) {
      const error = await failure(serve({ listen, authorizedKeys, ...wrong } as object))
      expect(error.message).toBe(`there is no option ${message}`)
    }
  })

  it('is refused of streams, forwards, tunnels and event targets', async () => {
    const session = await openSession(await reach(await startServer()))
    afterwards(() => session.close())
    const to = { listen: 0, target: '127.0.0.1:1' }
    for (const [attempt, message] of [
      [() => session.open('x', { timout: 1 } as object), 'timout: did you mean options.timeout?'],
      [
        () => session.forward({ ...to, maxConnection: 1 } as typeof to),
        'maxConnection: did you mean options.maxConnections?',
      ],
      [() => session.socks5({ listen: 0, user: 'x' } as object), 'user'],
      [
        () => openTunnel({ task: 1, tokn: 'x' } as { task: number }),
        'tokn: did you mean options.token?',
      ],
      [
        async () =>
          createAlknetEventTarget({ session, onoverflow: 'error' } as { session: AlknetSession }),
        'onoverflow: did you mean options.onOverflow?',
      ],
    ] as const) {
      const error = await failure(attempt())
      expect(error.message).toBe(`there is no option options.${message}`)
    }
  })

  it('is one that there is when it has no value', async () => {
    const whole = { ...(await options('127.0.0.1:1')), port: undefined }
    expect(await failure(connect(whole))).toMatchObject({ code: 'ECONNREFUSED' })
  })
})

describe('connect() to nobody', () => {
  it('is ECONNREFUSED with Node’s details', async () => {
    const port = await freePort()
    const error = await failure(connect(await options(`127.0.0.1:${port}`)))
    expect(error).toMatchObject({
      code: 'ECONNREFUSED',
      syscall: 'connect',
      address: '127.0.0.1',
      port,
      phase: 'tcp',
    })
  })

  it('is ENOTFOUND when the name does not resolve', async () => {
    const error = await failure(connect(await options('nonexistent.invalid:22')))
    expect(error).toMatchObject({ code: 'ENOTFOUND', syscall: 'getaddrinfo', phase: 'dns' })
  })

  it('takes names, and every address of a name', async () => {
    const server = await startServer()
    const port = server.addresses[0]?.split(':').at(-1)
    const accepted = nextConnection(server)
    const client = discard(await connect({ ...(await reach(server)), server: `localhost:${port}` }))
    await say(client, (await accepted).stream, 'by name')
  })

  it('takes IPv6 addresses in brackets', async () => {
    const server = await startServer({ listen: '[::1]:0' })
    expect(server.addresses[0]).toMatch(/^\[::1\]:\d+$/)
    const accepted = nextConnection(server)
    const client = discard(await connect(await reach(server)))
    expect(client).toMatchObject({ remoteAddress: '::1', remoteFamily: 'IPv6' })
    await say(client, (await accepted).stream, 'by six')
  })
})

describe('connect() to a peer that is no server for us', () => {
  it('ends with a handshake timeout when the peer is silent', async () => {
    const peer = await startTcp()
    const gone = peer.next().then(closing)
    const error = await failure(connect({ ...(await options(peer.server)), connectTimeout: 100 }))
    expect(error).toMatchObject({ code: 'ERR_ALKNET_HANDSHAKE_TIMEOUT', phase: 'kex' })
    await gone
  })

  it('ends with a handshake timeout when the peer never decides on the log-in', async () => {
    const peer = await startSsh2({ authenticate: () => {} })
    const error = await failure(connect({ ...(await options(peer.server)), connectTimeout: 1_000 }))
    expect(error).toMatchObject({ code: 'ERR_ALKNET_HANDSHAKE_TIMEOUT', phase: 'auth' })
  })

  it('is a protocol error when an HTTP server answers', async () => {
    const http = createServer().listen(0, '127.0.0.1')
    await once(http, 'listening')
    afterwards(() => http.close())
    const address = http.address()
    const port = typeof address === 'object' ? address?.port : undefined
    const error = await failure(connect(await options(`127.0.0.1:${port}`)))
    expect(error).toMatchObject({ code: 'ERR_ALKNET_PROTOCOL', phase: 'kex' })
  })

  it.each([
    ['noise after the identification', `SSH-2.0-x\r\n${'\0\0\0\x0c'.repeat(64)}`],
    ['a packet length beyond reason', 'SSH-2.0-x\r\n\xff\xff\xff\xff\x04\x14'],
    ['another SSH', 'SSH-1.5-old\r\n'],
  ])('is a protocol error on %s', async (_what, bytes) => {
    const peer = await startTcp((socket) => socket.end(bytes, 'latin1'))
    expect(await failure(connect(await options(peer.server)))).toMatchObject({
      code: 'ERR_ALKNET_PROTOCOL',
    })
  })

  it('is a reset or a protocol error when the peer hangs up at once', async () => {
    const peer = await startTcp((socket) => socket.end())
    const { code } = await failure(connect(await options(peer.server)))
    expect(['ECONNRESET', 'ERR_ALKNET_PROTOCOL']).toContain(code)
  })
})

describe('keys', () => {
  it('that are not authorised are rejected', async () => {
    const server = await startServer()
    const identity = (await strangerKey()).path
    const error = await failure(connect({ ...(await reach(server)), identity }))
    expect(error).toMatchObject({ code: 'ERR_ALKNET_AUTH_REJECTED', phase: 'auth' })
  })

  it('of hosts that nobody named are unknown, and shown', async () => {
    const server = await startServer()
    const { hostKeys: _, ...rest } = await reach(server)
    expect(await failure(connect(rest))).toMatchObject({
      code: 'ERR_ALKNET_HOST_KEY_UNKNOWN',
      fingerprint: (await hostKey()).fingerprint,
      phase: 'hostkey',
    })
  })

  it('of another host than expected are refused, and shown', async () => {
    const server = await startServer()
    for (const hostKeys of [(await strangerKey()).fingerprint, (await strangerKey()).publicKey]) {
      expect(await failure(connect({ ...(await reach(server)), hostKeys }))).toMatchObject({
        code: 'ERR_ALKNET_HOST_KEY_CHANGED',
        fingerprint: (await hostKey()).fingerprint,
        phase: 'hostkey',
      })
    }
  })

  it('of hosts may be fingerprints, keys or buffers, one or many', async () => {
    const server = await startServer()
    const { publicKey, fingerprint } = await hostKey()
    const other = (await strangerKey()).fingerprint
    for (const hostKeys of [
      fingerprint,
      publicKey,
      Buffer.from(publicKey),
      [other, Buffer.from(fingerprint)],
    ]) {
      discard(await connect({ ...(await reach(server)), hostKeys })).destroy()
    }
  })

  it('in PEM format are refused with the command that converts them', async () => {
    const pem = await makeKey('pem', ['-t', 'ecdsa', '-m', 'PEM'])
    const server = await startServer()
    for (const identity of [pem.path, readFileSync(pem.path)]) {
      const error = await failure(connect({ ...(await reach(server)), identity }))
      expect(error).toMatchObject({ code: 'ERR_ALKNET_KEY_INVALID', phase: 'config' })
      expect(error.hint).toContain('ssh-keygen -p -f')
    }
    expect(await failure(startServer({ hostKey: pem.path }))).toMatchObject({
      code: 'ERR_ALKNET_KEY_INVALID',
    })
  })

  it('that are private are refused as host keys, and not repeated', async () => {
    const server = await startServer()
    const secret = readFileSync((await hostKey()).path, 'utf8')
    for (const hostKeys of [secret, Buffer.from(secret)]) {
      const error = await failure(connect({ ...(await reach(server)), hostKeys }))
      expect(error.code).toMatch(/^ERR_ALKNET_(KEY_INVALID|CONFIG)$/)
      for (const line of secret.split('\n').slice(1, -2))
        expect(`${error.stack}${error.hint}`).not.toContain(line)
    }
  })

  it('that cannot be read or are no keys are refused', async () => {
    const server = await startServer()
    for (const identity of ['/nonexistent/key', Buffer.from('no key'), Buffer.alloc(0)]) {
      const error = await failure(connect({ ...(await reach(server)), identity }))
      expect(error.code).toMatch(/^(ERR_ALKNET_KEY_INVALID|ENOENT)$/)
    }
  })

  it('may be buffers at both ends', async () => {
    const authorizedKeys = readFileSync((await clientKey()).publicPath)
    const server = await startServer({
      authorizedKeys,
      hostKey: readFileSync((await hostKey()).path),
    })
    const identity = readFileSync((await clientKey()).path)
    discard(await connect({ ...(await reach(server)), identity }))
  })
})

describe('options', () => {
  it.each<[string, AlknetConnectOptions]>([
    ['a port that is none', { server: '127.0.0.1:65536' }],
    ['a window that is too small', { window: 1 }],
    ['a window that is too large', { window: 2 ** 40 }],
    ['new keys all the time', { rekeyBytes: 1 }],
    ['new keys too seldom', { rekeyBytes: 2 ** 30 + 1 }],
    ['a transport of another world', { transport: 'pigeon' as 'tcp' }],
    ['an empty target', { target: '' }],
    ['a host key that is none', { hostKeys: 'SHA256:nonsense' }],
  ])('with %s are refused before anything is dialled', async (_what, wrong) => {
    const peer = await startTcp()
    const error = await rejection(connect({ ...(await options(peer.server)), ...wrong }))
    expect(error).toMatchObject({
      code: expect.stringMatching(/^ERR_(ALKNET_(CONFIG|KEY_INVALID)|INVALID_ARG_)/),
    })
    expect(peer.sockets.size).toBe(0)
  })

  it('without server and without ALKNET_SERVER are refused', async () => {
    const { server: _, ...rest } = await options('')
    expect(await failure(connect(rest))).toMatchObject({
      code: 'ERR_ALKNET_CONFIG',
      phase: 'config',
    })
  })

  it('of serve() without any authorised key are refused', async () => {
    for (const authorizedKeys of [undefined, Buffer.alloc(0), Buffer.from('# nobody\n')]) {
      const attempt = serve({ listen: '127.0.0.1:0', ...(authorizedKeys && { authorizedKeys }) })
      expect(await failure(attempt)).toMatchObject({ code: 'ERR_ALKNET_CONFIG' })
    }
  })
})

describe('a port', () => {
  it('that is taken is EADDRINUSE with Node’s details', async () => {
    const { server, port } = await startTcp()
    const error = await failure(startServer({ listen: server }))
    expect(error).toMatchObject({
      code: 'EADDRINUSE',
      syscall: 'listen',
      address: '127.0.0.1',
      port,
      phase: 'listen',
    })
  })
})

describe('a target', () => {
  it.each(['127.0.0.1:9', '[::1]:9', 'alknet-other', 'ALKNET-CONTROL', 'nonexistent.invalid:9'])(
    'that the server does not offer is refused: %s',
    async (target) => {
      const server = await startServer()
      const session = await openSession(await reach(server))
      afterwards(() => session.close())
      expect(await failure(session.open(target))).toMatchObject({
        code: 'ERR_ALKNET_CHANNEL_REJECTED',
        reason: 'prohibited',
        phase: 'channel',
      })
      discard(await session.open())
    },
  )

  it('that connect() cannot have ends its session', async () => {
    const server = await startServer()
    const link = await startFaultyLink((await reach(server)).server)
    const ended = link.next().then(closing)
    const attempt = connect({
      ...(await reach(server)),
      server: link.server,
      target: '127.0.0.1:9',
    })
    expect(await failure(attempt)).toMatchObject({ code: 'ERR_ALKNET_CHANNEL_REJECTED' })
    await ended
  })
})
