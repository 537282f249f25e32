import { existsSync } from 'node:fs'
import { type Socket, connect as tcpConnect } from 'node:net'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { closing, discard, sink } from './support/alknet.js'
import { hear, MiB, receiveAll, say, send, text } from './support/bytes.js'
import { alknetProgram, connectAlknet, plainEnv, type Served, serveAlknet } from './support/cli.js'
import { clientKey, hostKey, scratch } from './support/keys.js'
import { leftOut } from './support/lacking.js'
import { freePort, startBlackHole, startEcho, startTcp } from './support/net.js'
import { lackOfPeer } from './support/peers.js'
import { type Program, start } from './support/program.js'
import { throughSocks } from './support/proxy.js'
import { startSsh } from './support/ssh.js'
import { startSshd } from './support/sshd.js'

/** A client that is up, and the port of its first remote forward. */
interface Connected {
  program: Program
  remotePort(): number
}

/** A client and a server: they understand the same words, and the same must be true of each pair. */
interface Pair {
  name: string
  peers: ('ssh' | 'sshd')[]
  serve(): Promise<Served>
  connect(served: Served, args: readonly string[]): Promise<Connected>
  /** The client with its standard input and output at the target of -W, or whatever ends by itself. */
  run(served: Served, args: readonly string[]): Promise<Program>
}

const strictly = ['-o', 'ExitOnForwardFailure=yes']

const asServed = async (): Promise<Served> => {
  const { program, server, port, user } = await startSshd()
  return { program, server, port, user, hostKey: await hostKey() }
}
const asAlknet = () => serveAlknet(['--allow-remote-forward', '--allow-sockets'])

const place = ({ server, hostKey: { publicKey } }: Served) => ({
  addresses: [server],
  hostKey: publicKey,
})

const openssh: Pick<Pair, 'connect' | 'run'> = {
  async connect(served, args) {
    const program = await startSsh(place(served), ['-v', '-N', ...strictly, ...args])
    await program.complains(/Entering interactive session/)
    if (args.includes('-R')) await program.complains(/all expected forwarding replies received/)
    const allocated = /Allocated port (\d+) for remote forward/
    return { program, remotePort: () => Number(allocated.exec(program.stderr)?.[1]) }
  },
  run: (served, args) => startSsh(place(served), args),
}

const alknet: Pick<Pair, 'connect' | 'run'> = {
  async connect(served, args) {
    const { program, told } = await connectAlknet(served, [...strictly, ...args])
    const remote = told.find(({ kind }) => kind === 'remote-forward')
    return { program, remotePort: () => remote?.port ?? 0 }
  },
  async run({ server, user, hostKey: { fingerprint } }, args) {
    const who = ['-l', user, '-i', (await clientKey()).path, '--host-key', fingerprint]
    const words = ['connect', server, ...who, ...args]
    return start(alknetProgram, words, { env: plainEnv, lines: false })
  },
}

const pairs: Pair[] = [
  { name: 'ssh at alknet serve', peers: ['ssh'], serve: asAlknet, ...openssh },
  { name: 'alknet connect at sshd', peers: ['sshd'], serve: asServed, ...alknet },
  { name: 'alknet connect at alknet serve', peers: [], serve: asAlknet, ...alknet },
]

const dial = (to: number | string, allowHalfOpen = false): Socket => {
  const where = typeof to === 'string' ? { path: to } : { port: to, host: '127.0.0.1' }
  return discard(tcpConnect({ ...where, allowHalfOpen }))
}

let made = 0
/** A path for a socket, short enough for one. */
function socketPath(): string {
  made += 1
  return join(scratch(), `${made}.sock`)
}

/** A word there and back, then an end each way. */
async function echoes(to: number | string, word = 'there and back'): Promise<void> {
  const socket = dial(to, true)
  await say(socket, socket, word)
  socket.end()
  expect(await text(socket)).toBe('')
}

for (const { name, peers, serve, connect, run } of pairs) {
  const lack = peers.map(lackOfPeer).find((lack) => lack !== undefined)

  describe.skipIf(leftOut(name, lack))(name, () => {
    it('forwards ports both ways, -L and -R, for a hundred connections at once', async () => {
      const [served, echo, port] = [await serve(), await startEcho(), await freePort()]
      const [here, there] = [`127.0.0.1:${port}:${echo.server}`, `0:${echo.server}`]
      const { remotePort } = await connect(served, ['-L', here, '-R', there])
      const words = Array.from({ length: 50 }, (_, i) => `number ${i}`)
      const all = words.flatMap((word) => [port, remotePort()].map((at) => ({ word, at })))
      const open = await Promise.all(
        all.map(async ({ word, at }) => {
          const socket = dial(at, true)
          await say(socket, socket, word)
          return socket
        }),
      )
      // All are open now.
      for (const socket of open) await say(socket, socket, 'still here')
    })

    it('listens for -R on the port it was told', async () => {
      const [served, echo, port] = [await serve(), await startEcho(), await freePort()]
      await connect(served, ['-R', `127.0.0.1:${port}:${echo.server}`])
      await echoes(port)
    })

    it('keeps the other direction open when one has ended, and loses nothing', async () => {
      const [served, port] = [await serve(), await freePort()]
      const { server } = await startTcp(async (socket) => {
        expect(await receiveAll(socket)).toBe(MiB)
        await send(socket, 2 * MiB)
        socket.end()
      })
      const args = ['-L', `127.0.0.1:${port}:${server}`, '-R', `0:${server}`]
      const { remotePort } = await connect(served, args)
      for (const at of [port, remotePort()]) {
        const socket = dial(at, true)
        await send(socket, MiB)
        socket.end()
        expect(await receiveAll(socket)).toBe(2 * MiB)
      }
    })

    it('is a SOCKS5 proxy with -D', async () => {
      const [served, echo, port] = [await serve(), await startEcho(), await freePort()]
      await connect(served, ['-D', `127.0.0.1:${port}`])
      const socket = await throughSocks(port, echo.port)
      await say(socket, socket, 'through the proxy')
    })

    it('leads standard input and output to a target with -W', async () => {
      const [served, echo] = [await serve(), await startEcho()]
      const program = await run(served, ['-W', echo.server])
      program.stdin.write('through the pipe')
      expect(await hear(program.stdout, 16)).toBe('through the pipe')
      program.stdin.end()
      expect((await program.exit).code).toBe(0)
    })

    it('leads from and to Unix sockets on either side', async () => {
      const [served, echo, port] = [await serve(), await startEcho(), await freePort()]
      const [near, far, remote] = [socketPath(), socketPath(), socketPath()]
      // From a socket here; to a socket at the server, which -R has made; and to a socket here.
      const args = ['-L', `${near}:${echo.server}`, '-R', `${far}:${near}`]
      await connect(served, [...args, '-L', `127.0.0.1:${port}:${far}`, '-L', `${remote}:${far}`])
      for (const at of [near, far, port, remote]) await echoes(at)
    })

    it('ends when a forward cannot be, with ExitOnForwardFailure', async () => {
      const [served, taken] = [await serve(), await startEcho()]
      for (const option of ['-L', '-R']) {
        const forward = [option, `127.0.0.1:${taken.port}:127.0.0.1:9`]
        const { code, stderr } = await (await run(served, ['-N', ...strictly, ...forward])).exit
        expect(code, stderr).toBe(name.startsWith('ssh') ? 255 : 6)
        expect(stderr).toMatch(/in use|EADDRINUSE|remote port forwarding failed|does not listen/i)
      }
    })

    it('ends -W with a reason when the target refuses', async () => {
      const served = await serve()
      const program = await run(served, ['-W', `127.0.0.1:${await freePort()}`])
      const { code, stderr } = await program.exit
      expect(code).toBe(name.startsWith('ssh') ? 255 : 6)
      expect(stderr).toMatch(/open failed: connect failed|ECONNREFUSED|refused/)
    })

    it('lets a target that refuses, or is a black hole, cost nobody but who wanted it', async () => {
      const [served, echo] = [await serve(), await startEcho()]
      const ports = await Promise.all([freePort(), freePort(), freePort()])
      const [good, refusing, silent] = ports
      const targets = [echo.port, await freePort(), await startBlackHole()]
      const forwards = ports.flatMap((port, i) => [
        '-L',
        `127.0.0.1:${port}:127.0.0.1:${targets[i]}`,
      ])
      await connect(served, forwards)
      const before = dial(good)
      await say(before, before, 'before')
      const lost = dial(silent).on('error', () => {})
      lost.write('hello?')
      await closing(sink(dial(refusing)))
      await Promise.all(Array.from({ length: 20 }, (_, i) => echoes(good, `meanwhile ${i}`)))
      await say(before, before, 'after')
      expect(lost.readyState).toBe('open')
    })

    it('frees what it listened on when the client is killed', async () => {
      const [served, echo] = [await serve(), await startEcho()]
      const far = socketPath()
      const { program, remotePort } = await connect(served, [
        ...['-R', `0:${echo.server}`],
        ...['-R', `${far}:${echo.server}`],
      ])
      const socket = dial(remotePort())
      await say(socket, socket, 'here')
      const lost = closing(sink(socket))
      program.kill('SIGKILL')
      await lost
      // A connection may come before the listener is closed, and ends with it.
      const refused = async (to: number | string) =>
        /ECONNREFUSED|ENOENT/.test((await closing(sink(dial(to))))?.code ?? '')
      while (!(await refused(remotePort())));
      while (!(await refused(far)));
      // sshd leaves the file where it was, as documented (StreamLocalBindUnlink); we made it and take it away.
      if (!name.endsWith('sshd')) expect(existsSync(far)).toBe(false)
    })
  })
}
