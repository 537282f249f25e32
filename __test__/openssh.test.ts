import { once } from 'node:events'
import { connect as tcpConnect } from 'node:net'
import { userInfo } from 'node:os'
import { pipeline } from 'node:stream/promises'
import { expect, it } from 'vitest'
import { type AlknetConnectOptions, connect, openSession } from '../index.js'
import { closing, discard, nextConnection, rejection, sink, startServer } from './support/alknet.js'
import { chunks, hear, MiB, receive, receiveAll, say, send, text } from './support/bytes.js'
import { afterwards } from './support/cleanup.js'
import { clientKey, hostKey, strangerKey } from './support/keys.js'
import { freePort, startEcho, startTcp } from './support/net.js'
import { describeWith } from './support/peers.js'
import { startSsh } from './support/ssh.js'
import { type Sshd, startSshd } from './support/sshd.js'

/** One event as it goes over the wire: four bytes of length, then JSON. */
function frame(value: unknown): Buffer {
  const body = Buffer.from(JSON.stringify(value))
  const length = Buffer.alloc(4)
  length.writeUInt32BE(body.length)
  return Buffer.concat([length, body])
}

const strictly = ['-o', 'ExitOnForwardFailure=yes']
const prohibited = /open failed: administratively prohibited/
const noSession = /channel 0: open failed: (unknown channel type|administratively prohibited)/

describeWith('ssh', 'OpenSSH’s client at our server', () => {
  it('carries framed messages with -W', async () => {
    const server = await startServer()
    const accepted = nextConnection(server)
    const client = await startSsh(server, ['-W', 'alknet-control:1'])
    const { stream, info } = await accepted
    expect(info).toMatchObject({ user: 'visitor', target: 'alknet-control' })
    expect(info.peer).toMatch(/^SSH-2\.0-OpenSSH_/)
    expect(info.keyFingerprint).toBe((await clientKey()).fingerprint)
    const [question, answer] = [
      frame({ type: 'ask', id: '', payload: 'wer?' }),
      frame({ type: 'tell', id: '', payload: 'ich' }),
    ]
    client.stdin.write(question)
    expect(await hear(stream, question.length)).toBe(String(question))
    stream.write(answer)
    expect(await hear(client.stdout, answer.length)).toBe(String(answer))
    client.stdin.end()
    stream.end()
    expect((await client.exit).code).toBe(0)
  })

  it('carries 32 MiB both ways at once, then an end from each side', async () => {
    const server = await startServer()
    const accepted = nextConnection(server)
    const client = await startSsh(server, ['-W', 'alknet-control:1'])
    const { stream } = await accepted
    const answered = receiveAll(client.stdout)
    const asked = receiveAll(stream)
    await Promise.all([pipeline(chunks(32 * MiB), client.stdin), send(stream, 32 * MiB)])
    expect(await asked).toBe(32 * MiB)
    // Only now: with -W the client stops reading its own input when the other side ends.
    stream.end()
    expect(await answered).toBe(32 * MiB)
    expect((await client.exit).code).toBe(0)
  })

  it('takes new keys on the way, as often as rekeyBytes says', async () => {
    const server = await startServer({ rekeyBytes: MiB })
    const accepted = nextConnection(server)
    const client = await startSsh(server, ['-v', '-W', 'alknet-control:1'])
    const { stream } = await accepted
    const received = receiveAll(client.stdout)
    await send(stream, 8 * MiB)
    stream.end()
    expect(await received).toBe(8 * MiB)
    expect((await client.exit).stderr.match(/SSH2_MSG_NEWKEYS received/g)?.length).toBeGreaterThan(
      4,
    )
  })

  it('gives one connection per forwarded stream, all of one session', async () => {
    const server = await startServer()
    const port = await freePort()
    const forward = `127.0.0.1:${port}:alknet-control:1`
    const client = await startSsh(server, [...strictly, '-v', '-N', '-L', forward])
    await client.complains(/Entering interactive session/)
    const accepted = []
    const locals = []
    for (const _ of [1, 2]) {
      const coming = nextConnection(server)
      locals.push(discard(tcpConnect(port, '127.0.0.1')))
      accepted.push(await coming)
    }
    for (const [i, { stream }] of accepted.entries())
      await say(stream, locals[i] as never, `number ${i}`)
    expect(new Set(accepted.map(({ info }) => info.sessionId)).size).toBe(1)
  })

  it('loses the stream when the client is killed', async () => {
    const server = await startServer()
    const accepted = nextConnection(server)
    const client = await startSsh(server, ['-W', 'alknet-control:1'])
    const lost = closing(sink((await accepted).stream))
    client.kill('SIGKILL')
    expect((await lost)?.code).toMatch(/^(ECONNRESET|ERR_ALKNET_SESSION_CLOSED)$/)
  })

  it.each<[string, string[], string[], RegExp]>([
    ['a shell', ['-T'], [], noSession],
    ['a command', ['-n'], ['id'], noSession],
    ['a subsystem', ['-s'], ['sftp'], noSession],
    ['another host', ['-W', '127.0.0.1:9'], [], prohibited],
    ['another name of ours', ['-W', 'alknet-other:1'], [], prohibited],
    ['listening', [...strictly, '-N', '-R', '0:127.0.0.1:9'], [], /remote port forwarding failed/],
  ])('is refused %s, and told why', async (_what, args, command, said) => {
    const server = await startServer()
    const client = await startSsh(server, args, { command })
    const { code, stderr } = await client.exit
    expect(stderr).toMatch(said)
    expect(code).toBe(255)
  })

  it('is refused with a key that is not authorised', async () => {
    const server = await startServer()
    const client = await startSsh(server, ['-W', 'alknet-control:1'], {
      identity: (await strangerKey()).path,
    })
    const { code, stderr } = await client.exit
    expect({ code, told: stderr.includes('Permission denied (publickey)') }).toEqual({
      code: 255,
      told: true,
    })
  })
})

/** What it takes to get through `sshd` to `target`. */
async function through(sshd: Sshd, target?: string): Promise<AlknetConnectOptions> {
  const [identity, hostKeys] = [(await clientKey()).path, (await hostKey()).fingerprint]
  return {
    server: sshd.server,
    user: sshd.user,
    identity,
    hostKeys,
    ...(target !== undefined && { target }),
  }
}

async function sessionThrough(sshd: Sshd) {
  const session = await openSession(await through(sshd))
  afterwards(() => session.close())
  return session
}

describeWith('sshd', 'connect() at OpenSSH’s server', () => {
  it('reaches host and port, and knows whom it talked to', async () => {
    const [sshd, echo] = [await startSshd(), await startEcho()]
    const client = discard(await connect(await through(sshd, echo.server)))
    expect(client.info).toMatchObject({ user: userInfo().username, target: echo.server })
    expect(client.info.peer).toMatch(/^SSH-2\.0-OpenSSH_/)
    const received = receiveAll(client)
    await send(client, 32 * MiB)
    client.end()
    expect(await received).toBe(32 * MiB)
  })

  it('reaches IPv6 targets in brackets', async () => {
    const [sshd, echo] = [await startSshd(), await startEcho('::1')]
    const client = discard(await connect(await through(sshd, echo.server)))
    await say(client, client, 'six')
  })

  it('half-closes either way', async () => {
    const sshd = await startSshd()
    const answering = await startTcp(
      (socket) => void text(socket).then((asked) => socket.end(`got ${asked}`)),
    )
    const asking = discard(await connect(await through(sshd, answering.server)))
    asking.end('question')
    expect(await text(asking)).toBe('got question')
    const greeting = await startTcp((socket) => socket.end('greeting'))
    const heard = greeting.next().then(text)
    const listening = discard(await connect(await through(sshd, greeting.server)))
    expect(await text(listening)).toBe('greeting')
    listening.end('and more')
    expect(await heard).toBe('and more')
  })

  it('moves bulk on eight streams of one session through many rekeys', async () => {
    const [sshd, echo] = [await startSshd(['RekeyLimit 1M']), await startEcho()]
    const session = await sessionThrough(sshd)
    expect(session.hostKeyFingerprint).toBe((await hostKey()).fingerprint)
    const moves = Array.from({ length: 8 }, async () => {
      const stream = discard(await session.open(echo.server))
      await Promise.all([send(stream, 4 * MiB), receive(stream, 4 * MiB)])
    })
    await Promise.all(moves)
  })

  it.each([
    ['refuses', 'ECONNREFUSED', async () => `127.0.0.1:${await freePort()}`],
    ['does not exist', 'ENOTFOUND', async () => 'nonexistent.invalid:9'],
  ])('tells when the far target %s: %s', async (_how, code, target) => {
    const sshd = await startSshd()
    const session = await sessionThrough(sshd)
    const expected = { code, phase: 'channel', reason: 'connect-failed' }
    expect(await rejection(session.open(await target()))).toMatchObject(expected)
    expect(await rejection(connect(await through(sshd, await target())))).toMatchObject(expected)
  })

  it('tells when the server forbids the target', async () => {
    const [sshd, echo] = [await startSshd(['PermitOpen 127.0.0.1:9']), await startEcho()]
    const attempt = connect(await through(sshd, echo.server))
    const expected = { code: 'ERR_ALKNET_CHANNEL_REJECTED', reason: 'prohibited', phase: 'channel' }
    expect(await rejection(attempt)).toMatchObject(expected)
  })

  it('is told that a key or a host key is wrong', async () => {
    const sshd = await startSshd()
    const stranger = await strangerKey()
    const options = await through(sshd)
    expect(await rejection(openSession({ ...options, identity: stranger.path }))).toMatchObject({
      code: 'ERR_ALKNET_AUTH_REJECTED',
    })
    expect(
      await rejection(openSession({ ...options, hostKeys: stranger.fingerprint })),
    ).toMatchObject({
      code: 'ERR_ALKNET_HOST_KEY_CHANGED',
      fingerprint: (await hostKey()).fingerprint,
    })
  })

  it('loses its streams when the server is killed in mid-transfer', async () => {
    const sshd = await startSshd()
    const source = await startTcp(
      (socket) => void pipeline(chunks(1024 * MiB), socket).catch(() => {}),
    )
    const client = discard(await connect(await through(sshd, source.server)))
    await once(client, 'data')
    const lost = closing(sink(client))
    sshd.killSessions()
    expect((await lost)?.code).toMatch(/^(ECONNRESET|ERR_ALKNET_SESSION_CLOSED)$/)
  })

  it('leaves other streams going while one is not read', async () => {
    const [sshd, echo] = [await startSshd(), await startEcho()]
    const source = await startTcp(
      (socket) => void pipeline(chunks(8 * MiB), socket).catch(() => {}),
    )
    const session = await sessionThrough(sshd)
    const stalled = discard(await session.open(source.server))
    const other = discard(await session.open(echo.server))
    await Promise.all([send(other, 16 * MiB), receive(other, 16 * MiB)])
    expect(await receiveAll(stalled)).toBe(8 * MiB)
  })
})
