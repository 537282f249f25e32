import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'
import { type AlknetConnectOptions, type AlknetServer, connect, openSession } from '../index.js'
import { closing, discard, rejection, sink, startServer } from './support/alknet.js'
import { MiB, receive, receiveAll, say, send } from './support/bytes.js'
import { afterwards } from './support/cleanup.js'
import { serveAlknet } from './support/cli.js'
import { clientKey, hostKey, scratch, strangerKey } from './support/keys.js'
import { freePort, startEcho } from './support/net.js'
import { describeWith, peerPath } from './support/peers.js'
import { type Program, start } from './support/program.js'

function script(name: string): string {
  return fileURLToPath(new URL(`support/asyncssh/${name}.py`, import.meta.url))
}

/** Runs one action of the asyncssh client against `server` and gives what it says about it. */
async function act(
  server: Pick<AlknetServer, 'addresses' | 'hostKey'>,
  action: string,
  more: { key?: string; args?: string[] } = {},
): Promise<unknown> {
  const port = server.addresses[0]?.split(':').at(-1) ?? ''
  const key = more.key ?? (await clientKey()).path
  const args = [port, key, server.hostKey, action, ...(more.args ?? [])]
  return start(peerPath('asyncssh'), [script('client'), ...args]).json()
}

/** Starts a server that sends back whatever comes. */
async function startEchoing(): Promise<AlknetServer> {
  const server = await startServer()
  return server.onConnection((stream) => stream.on('error', () => {}).pipe(stream))
}

describeWith('asyncssh', 'a client of asyncssh at our server', () => {
  it('moves 8 MiB both ways on each of two channels of one session', async () => {
    const server = await startEchoing()
    const sessions: string[] = []
    server.on('connection', (_stream, { sessionId }) => sessions.push(sessionId))
    expect(await act(server, 'echo')).toEqual({ equal: [true, true] })
    expect(sessions).toEqual([sessions[0], sessions[0]])
  })

  it('does so through many rekeys', async () => {
    expect(await act(await startEchoing(), 'rekey')).toEqual({ equal: [true, true] })
  })

  it('is refused what is not offered with true reasons, and may go on', async () => {
    // RFC 4254 §5.1: 1 is "administratively prohibited", 3 "unknown channel type".
    const notOffered = expect.toSatisfy((code) => code === 1 || code === 3)
    expect(await act(await startEchoing(), 'refusals')).toEqual({
      shell: notOffered,
      command: notOffered,
      socket: notOffered,
      host: 1,
      name: 1,
      listen: 'listen refused',
      equal: [true, true],
    })
  })

  it('forwards ports and sockets both ways at alknet serve', async () => {
    const { server, hostKey: key } = await serveAlknet([
      '--allow-remote-forward',
      '--allow-sockets',
    ])
    const args = ['127.0.0.1', `${(await startEcho()).port}`, scratch()]
    const served = { addresses: [server], hostKey: key.publicKey }
    expect(await act(served, 'forwards', { args })).toEqual({
      local: true,
      remote: true,
      socket: true,
      'far socket': true,
      many: true,
      cancelled: true,
    })
  })

  it('is refused with a key that is not authorised', async () => {
    const denied = await act(await startServer(), 'echo', { key: (await strangerKey()).path })
    expect(denied).toEqual({ denied: expect.any(String) })
  })
})

/** Starts the asyncssh server and gives what it takes to reach it; with `cipher` it is an old one that offers only that. */
async function startAsyncssh(
  ...cipher: string[]
): Promise<{ program: Program; options: AlknetConnectOptions }> {
  const [host, client] = [await hostKey(), await clientKey()]
  const args = [script('server'), host.path, client.publicPath, ...cipher]
  const program = start(peerPath('asyncssh'), args)
  const server = `127.0.0.1:${await program.line()}`
  return { program, options: { server, identity: client.path, hostKeys: host.publicKey } }
}

describeWith('asyncssh', 'connect() at a server of asyncssh', () => {
  it('moves 16 MiB there and back and ends on both sides', async () => {
    const { program, options } = await startAsyncssh()
    const client = discard(await connect(options))
    expect(client.info.peer).toMatch(/^SSH-2\.0-AsyncSSH_/)
    const received = receiveAll(client)
    await send(client, 16 * MiB)
    client.end()
    expect(await received).toBe(16 * MiB)
    expect(await program.line()).toBe(`echoed ${16 * MiB}`)
  })

  it('carries many streams on one session', async () => {
    const { options } = await startAsyncssh()
    const session = await openSession({ ...options, identity: readFileSync(`${options.identity}`) })
    afterwards(() => session.close())
    const streams = await Promise.all(Array.from({ length: 20 }, () => session.open()))
    await Promise.all(
      streams.flatMap((stream) => [send(discard(stream), MiB), receive(stream, MiB)]),
    )
  })

  it('reaches targets and is told why it cannot', async () => {
    const [{ options }, echo] = [await startAsyncssh(), await startEcho()]
    const session = await openSession(options)
    afterwards(() => session.close())
    const client = discard(await session.open(echo.server))
    await say(client, client, 'through')
    expect(await rejection(session.open('prohibited:1'))).toMatchObject({
      code: 'ERR_ALKNET_CHANNEL_REJECTED',
      reason: 'prohibited',
    })
    // What asyncssh says of it is a sentence of Python's, which need not be understood.
    expect(await rejection(session.open(`127.0.0.1:${await freePort()}`))).toMatchObject({
      code: expect.stringMatching(/^(ECONNREFUSED|ERR_ALKNET_CHANNEL_REJECTED)$/),
      reason: 'connect-failed',
    })
  })

  it('refuses chacha20 without strict key exchange, and takes AES-GCM', async () => {
    const old = await startAsyncssh('chacha20-poly1305@openssh.com')
    const error = await rejection(connect(old.options))
    expect(error).toMatchObject({ code: 'ERR_ALKNET_PROTOCOL', phase: 'kex' })
    expect(String(error)).toContain('strict key exchange')
    const safe = await startAsyncssh('aes128-gcm@openssh.com')
    const client = discard(await connect(safe.options))
    await say(client, client, 'safe')
  })

  it('loses its streams when the server is killed', async () => {
    const { program, options } = await startAsyncssh()
    const client = discard(await connect(options))
    await say(client, client, 'here')
    const lost = closing(sink(client))
    program.kill('SIGKILL')
    expect((await lost)?.code).toMatch(/^(ECONNRESET|ERR_ALKNET_SESSION_CLOSED)$/)
  })
})
