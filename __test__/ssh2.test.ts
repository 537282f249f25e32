import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import type { Algorithms, Client, ClientChannel, ServerChannel } from 'ssh2'
import ssh2 from 'ssh2'
import { describe, expect, it } from 'vitest'
import { type AlknetConnectOptions, type AlknetServer, connect, openSession } from '../index.js'
import { closing, discard, nextConnection, rejection, sink, startServer } from './support/alknet.js'
import { MiB, receive, receiveAll, say, send, text } from './support/bytes.js'
import { afterwards } from './support/cleanup.js'
import { clientKey, hostKey, strangerKey } from './support/keys.js'
import { echo, startSsh2 } from './support/ssh2-server.js'

/** Logs a client of npm `ssh2` in. */
async function logIn(
  server: AlknetServer,
  key?: string,
  algorithms: Algorithms = {},
): Promise<Client> {
  const [host, port] = (server.addresses[0] ?? '').split(':')
  const client = new ssh2.Client()
  afterwards(() => client.on('error', () => {}).destroy())
  const privateKey = readFileSync(key ?? (await clientKey()).path)
  const where = { host: `${host}`, port: Number(port), username: 'visitor', algorithms }
  client.connect({ ...where, privateKey })
  await once(client, 'ready')
  return client
}

type Answer<T> = (error: Error | undefined, value: T) => void

/** A callback of ssh2 as a promise. */
function asked<T>(ask: (answer: Answer<T>) => unknown): Promise<T> {
  return new Promise((resolve, reject) => {
    ask((error, value) => (error ? reject(error) : resolve(value)))
  })
}

/** Opens a channel to `target`, as `ssh -W` would. */
function channel(client: Client, target = 'alknet-control'): Promise<ClientChannel> {
  return asked((answer) => client.forwardOut('127.0.0.1', 4_000, target, 1, answer))
}

async function controlPair(server: AlknetServer, client: Client) {
  const accepted = nextConnection(server)
  const near = discard(await channel(client))
  const { stream, info } = await accepted
  return { near, far: stream, info }
}

// RFC 4254 §5.1: 1 is "administratively prohibited", 3 "unknown channel type".
const notOffered = [1, 3]

describe('a client of ssh2 at our server', () => {
  it('gets two connections for two control channels of one session', async () => {
    const server = await startServer()
    const client = await logIn(server)
    const [first, second] = [await controlPair(server, client), await controlPair(server, client)]
    expect(first.info).toMatchObject({ user: 'visitor', target: 'alknet-control' })
    expect(first.info.peer).toMatch(/^SSH-2\.0-ssh2js/)
    expect(second.info.sessionId).toBe(first.info.sessionId)
    expect(second.far).not.toBe(first.far)
    await say(first.near, first.far, 'one')
    await say(second.near, second.far, 'two')
    await say(second.far, second.near, 'too')
    first.near.end()
    first.far.end()
    await say(second.near, second.far, 'still two')
  })

  it('moves 16 MiB both ways at once', async () => {
    const server = await startServer()
    const { near, far } = await controlPair(server, await logIn(server))
    await Promise.all([
      send(near, 16 * MiB),
      send(far, 16 * MiB),
      receive(near, 16 * MiB),
      receive(far, 16 * MiB),
    ])
  })

  it('half-closes either way', async () => {
    const server = await startServer()
    const client = await logIn(server)
    const asking = await controlPair(server, client)
    asking.near.end('question')
    expect(await text(asking.far)).toBe('question')
    asking.far.end('answer')
    expect(await text(asking.near)).toBe('answer')
    const telling = await controlPair(server, client)
    telling.far.end('statement')
    expect(await text(telling.near)).toBe('statement')
    telling.near.end('reply')
    expect(await text(telling.far)).toBe('reply')
  })

  it.each(['client', 'server'])(
    'keeps other channels going while one is not read that the %s sends on',
    async (side) => {
      const server = await startServer()
      const client = await logIn(server)
      const { near, far } = await controlPair(server, client)
      const [from, to] = side === 'client' ? [near, far] : [far, near]
      const sending = send(from, 8 * MiB)
      await once(to, 'readable')
      const other = await controlPair(server, client)
      await Promise.all([send(other.near, 16 * MiB), receive(other.far, 16 * MiB)])
      await Promise.all([send(other.far, 16 * MiB), receive(other.near, 16 * MiB)])
      await Promise.all([sending, receive(to, 8 * MiB)])
    },
  )

  it('loses its streams on our side when it goes', async () => {
    const server = await startServer()
    const client = await logIn(server)
    const { near, far } = await controlPair(server, client)
    near.on('error', () => {})
    const lost = closing(sink(far))
    client.destroy()
    expect((await lost)?.code).toMatch(/^(ECONNRESET|ERR_ALKNET_SESSION_CLOSED)$/)
  })

  it.each<[string, number[], (client: Client) => Promise<unknown>]>([
    ['a shell', notOffered, (client) => asked((answer) => client.shell(answer))],
    ['a command', notOffered, (client) => asked((answer) => client.exec('id', answer))],
    ['SFTP', notOffered, (client) => asked((answer) => client.sftp(answer))],
    ['another host', [1], (client) => channel(client, '127.0.0.1')],
    ['another name of ours', [1], (client) => channel(client, 'alknet-other')],
  ])('is refused %s with a true reason, and may go on', async (_what, reasons, ask) => {
    const server = await startServer()
    const client = await logIn(server)
    const error = await rejection(ask(client))
    expect(reasons).toContain((error as { reason?: unknown }).reason)
    const { near, far } = await controlPair(server, client)
    await say(near, far, 'as before')
  })

  it('is refused listening', async () => {
    const client = await logIn(await startServer())
    const attempt = asked<number>((answer) => client.forwardIn('127.0.0.1', 0, answer))
    expect(String(await rejection(attempt))).toMatch(/Unable to bind/)
  })

  it.each<Algorithms>([
    { kex: ['diffie-hellman-group14-sha256'] },
    { kex: ['diffie-hellman-group-exchange-sha256'] },
    { kex: ['ecdh-sha2-nistp256'] },
    { serverHostKey: ['ssh-rsa'] },
    { cipher: ['aes128-cbc'] },
    { cipher: ['aes128-ctr'] },
    { compress: ['zlib@openssh.com'] },
  ])('finds no weak algorithm to agree on: %o', async (algorithms) => {
    const attempt = logIn(await startServer(), undefined, algorithms)
    expect(await rejection(attempt)).toMatchObject({ level: 'handshake' })
  })

  it('is refused with a key that is not authorised', async () => {
    const attempt = logIn(await startServer(), (await strangerKey()).path)
    expect(await rejection(attempt)).toMatchObject({ level: 'client-authentication' })
  })
})

async function reachSsh2(server: string): Promise<AlknetConnectOptions> {
  return { server, identity: (await clientKey()).path, hostKeys: (await hostKey()).fingerprint }
}

async function sessionTo(server: string) {
  const session = await openSession(await reachSsh2(server))
  afterwards(() => session.close())
  return session
}

describe('connect() at a server of ssh2', () => {
  it('asks for the control stream by name', async () => {
    let asked: { destIP: string } | undefined
    const peer = await startSsh2({
      tcpip: (accept, _reject, info) => {
        asked = info
        echo(accept())
      },
    })
    const client = discard(await connect(await reachSsh2(peer.server)))
    await say(client, client, 'hello')
    expect(asked).toMatchObject({ destIP: 'alknet-control' })
    expect(client.info.peer).toMatch(/^SSH-2\.0-ssh2js/)
  })

  it('asks for host and port as given', async () => {
    const targets: string[] = []
    const peer = await startSsh2({
      tcpip: (accept, _reject, { destIP, destPort }) => {
        targets.push(`${destIP} ${destPort}`)
        echo(accept())
      },
    })
    const session = await sessionTo(peer.server)
    for (const target of ['db.internal:5432', '10.0.0.1:1', '[fd00::1]:65535'])
      discard(await session.open(target))
    expect(targets).toEqual(['db.internal 5432', '10.0.0.1 1', 'fd00::1 65535'])
  })

  it('moves 16 MiB both ways and ends on both sides', async () => {
    const peer = await startSsh2()
    const client = discard(await connect(await reachSsh2(peer.server)))
    const received = receiveAll(client)
    await send(client, 16 * MiB)
    client.end()
    expect(await received).toBe(16 * MiB)
  })

  it('hears an end and goes on sending', async () => {
    let heard: Promise<string> | undefined
    const peer = await startSsh2({
      tcpip: (accept) => {
        const channel = accept()
        // end() of a server's channel would close it whole.
        channel.write('statement', () => channel.eof())
        heard = text(channel)
      },
    })
    const client = discard(await connect(await reachSsh2(peer.server)))
    expect(await text(client)).toBe('statement')
    client.end('reply')
    expect(await heard).toBe('reply')
  })

  it('is told of a refusal, and may ask again', async () => {
    const peer = await startSsh2({
      tcpip: (accept, reject, { destIP }) =>
        destIP === 'alknet-control' ? echo(accept()) : reject(),
    })
    const session = await sessionTo(peer.server)
    const error = await rejection(session.open('elsewhere:1'))
    expect(error).toMatchObject({ code: 'ERR_ALKNET_CHANNEL_REJECTED', phase: 'channel' })
    const client = discard(await session.open())
    await say(client, client, 'again')
  })

  it('loses its streams when the server goes', async () => {
    const peer = await startSsh2()
    const coming = peer.next()
    const session = await sessionTo(peer.server)
    const ends = [closing(sink(await session.open())), closing(sink(await session.open()))]
    const down = once(session, 'down')
    ;(await coming).end()
    const expected = expect.objectContaining({ code: 'ERR_ALKNET_SESSION_CLOSED' })
    expect(await Promise.all(ends)).toEqual([expected, expected])
    expect(await down).toEqual([expected])
  })

  it('keeps other streams going while one is not read', async () => {
    const peer = await startSsh2({
      tcpip: (accept, _reject, { destIP }) => {
        const channel: ServerChannel = accept()
        if (destIP === 'alknet-control') echo(channel)
        else
          send(channel, 8 * MiB).then(
            () => channel.end(),
            () => {},
          )
      },
    })
    const session = await sessionTo(peer.server)
    const stalled = discard(await session.open('source:1'))
    const other = discard(await session.open())
    await Promise.all([send(other, 16 * MiB), receive(other, 16 * MiB)])
    expect(await receiveAll(stalled)).toBe(8 * MiB)
  })
})
