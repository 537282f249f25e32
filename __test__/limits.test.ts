import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { type Socket, connect as tcpConnect } from 'node:net'
import { fileURLToPath } from 'node:url'
import { describe, expect, it, vi } from 'vitest'
import { type AlknetServeOptions, connect, openSession } from '../index.js'
import {
  closing,
  discard,
  nextConnection,
  reach,
  rejection,
  sessionPair,
  startServer,
} from './support/alknet.js'
import { text as read, say } from './support/bytes.js'
import { afterwards } from './support/cleanup.js'
import { serveAlknet } from './support/cli.js'
import { clientKey } from './support/keys.js'
import { start } from './support/program.js'
import { MSG, message, nameLists, RawSsh, rawKey, text, u32 } from './support/raw-ssh.js'

const key = rawKey()
const stranger = rawKey()

/** A server that knows {@link key} too. */
async function server(limits: AlknetServeOptions['limits'] = {}) {
  const own = await clientKey()
  const authorizedKeys = Buffer.from(`${own.publicKey}\n${key.line}\n`)
  const started = await startServer({ authorizedKeys, limits })
  const address = started.addresses[0] ?? ''
  const raw = (localAddress = '127.0.0.1') => new RawSsh(address, { localAddress })
  return { started, address, raw }
}

/** Connects and says something, as somebody does who has done nothing wrong. */
async function goodClient(to: Awaited<ReturnType<typeof server>>): Promise<void> {
  const accepted = nextConnection(to.started)
  const client = discard(await connect(await reach(to.started)))
  const { stream } = await accepted
  stream.on('error', () => {})
  await say(client, stream, 'good day')
  client.destroy()
}

/** Whether the server says a word, rather than closing at once. */
const isLetIn = (ssh: RawSsh) =>
  ssh.hear().then(
    () => true,
    () => false,
  )

const other = '127.0.0.2'

// Only Linux answers on all of 127.0.0.0/8 without being told to.
const withSources = describe.skipIf(process.platform !== 'linux')

it.each([0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 32])(
  'refuses %s for a limit',
  async (value) => {
    for (const name of ['maxSessions', 'maxSessionsPerKey', 'earlyDrop', 'maxRequests']) {
      const error = await rejection(server({ [name]: value }))
      expect(error).toMatchObject({ name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE' })
      expect(String(error)).toContain(`options.limits.${name}`)
    }
  },
)

it.each([
  [{ penalties: 1 }, 'ERR_INVALID_ARG_TYPE'],
  [{ penalties: { noAuth: -1 } }, 'ERR_INVALID_ARG_VALUE'],
  [{ exempt: '10.0.0.1' }, 'ERR_INVALID_ARG_TYPE'],
  [{ exempt: ['localhost'] }, 'ERR_ALKNET_CONFIG'],
  [{ penalties: { longest: '1' } }, 'ERR_INVALID_ARG_TYPE'],
] as const)('refuses %j for limits', async (limits, code) => {
  expect(await rejection(server(limits as never))).toMatchObject({ code })
})

withSources('a source', () => {
  it('has so many places before log-in, gets them back, and takes no other’s', async () => {
    const to = await server({ maxUnauthenticatedPerSource: 3, penalties: false })
    const waiting = Array.from({ length: 3 }, () => to.raw(other))
    for (const ssh of waiting) expect(await isLetIn(ssh)).toBe(true)
    expect(await isLetIn(to.raw(other))).toBe(false)
    await goodClient(to)
    for (const ssh of waiting) ssh.socket.destroy()
    await expect.poll(() => isLetIn(to.raw(other))).toBe(true)
  })

  it('begins no more handshakes in a second than it may, but logs in as often as it likes', async () => {
    const to = await server({ maxHandshakesPerSource: 5, penalties: false })
    let begun = 0
    for (let attempt = 0; attempt < 30; attempt += 1) {
      const ssh = to.raw(other)
      if (await isLetIn(ssh)) begun += 1
      ssh.socket.destroy()
      await closing(ssh.socket)
    }
    // The second may turn a few times while this runs.
    expect(begun).toBeLessThan(30)
    for (let count = 0; count < 30; count += 1) await goodClient(to)
  })

  it.each<readonly [string, (ssh: RawSsh) => unknown]>([
    [
      'log in in vain',
      async (ssh) => {
        await ssh.exchange()
        await ssh.askForAuth()
        ssh.send(ssh.authRequest(stranger, 'raw', false))
        await ssh.expect(MSG.USERAUTH_FAILURE)
        ssh.socket.destroy()
      },
    ],
    [
      'try passwords',
      async (ssh) => {
        await ssh.exchange()
        await ssh.askForAuth()
        ssh.send(message(MSG.USERAUTH_REQUEST, 'x', 'ssh-connection', 'password', 0, 'guess'))
        await ssh.expect(MSG.USERAUTH_FAILURE)
        ssh.socket.destroy()
      },
    ],
    ['break the protocol', (ssh) => ssh.write('GET / HTTP/1.1\r\n\r\n')],
    ['never log in', () => {}],
  ])('is refused for a while whose connections %s, and no other is', async (_what, misbehave) => {
    const to = await server({ loginTimeout: 400 })
    let refusedAfter = 0
    for (let attempt = 1; attempt <= 10 && refusedAfter === 0; attempt += 1) {
      const ssh = to.raw(other)
      if (await isLetIn(ssh)) {
        await misbehave(ssh)
        await ssh.closed
      } else refusedAfter = attempt
    }
    expect(refusedAfter).toBeGreaterThan(1)
    await goodClient(to)
  })
})

it('leaves a chance to others in a flood from everywhere', async () => {
  const limits = { earlyDrop: 4, maxUnauthenticated: 8, maxUnauthenticatedPerSource: 100 }
  const to = await server({ ...limits, maxHandshakesPerSource: 1_000, penalties: false })
  const flood: RawSsh[] = []
  const letIn: boolean[] = []
  for (let arrival = 0; arrival < 60; arrival += 1) {
    const ssh = to.raw()
    flood.push(ssh)
    letIn.push(await isLetIn(ssh))
  }
  expect(letIn.slice(0, 4)).toEqual([true, true, true, true])
  // None is let in beyond the hard limit, and above the soft one it is a matter of luck.
  expect(letIn.filter((yes) => yes).length).toBeLessThanOrEqual(8)
  expect(letIn.slice(-30).filter((yes) => !yes).length).toBeGreaterThan(20)
  for (const ssh of flood) ssh.socket.destroy()
  await expect.poll(() => isLetIn(to.raw())).toBe(true)
})

it('gives one key so many sessions and others theirs', async () => {
  const to = await server({ maxSessionsPerKey: 2, maxSessions: 3 })
  const options = await reach(to.started)
  const sessions = [await openSession(options), await openSession(options)]
  for (const session of sessions) afterwards(() => session.close())
  const full = { code: 'ERR_ALKNET_TOO_MANY_SESSIONS', phase: 'auth' }
  for (const attempt of [() => openSession(options), () => connect(options)]) {
    const refused = await rejection(attempt())
    expect(refused).toMatchObject(full)
    expect(String(refused)).toContain('too many sessions with this key')
  }
  const raw = await to.raw().logIn(key)
  expect(await rejection(openSession(options))).toMatchObject(full)
  const third = to.raw()
  await third.exchange()
  await third.askForAuth()
  third.send(third.authRequest(key))
  const bye = await third.expect(MSG.DISCONNECT)
  expect(bye?.toString()).toContain('too many sessions')
  raw.socket.destroy()
  await sessions[0]?.close()
  await expect.poll(async () => (await to.raw().logIn(key)).socket.destroyed).toBe(false)
})

it('takes 64 sessions of a key unless told otherwise, refuses the next at once, and logs that', async () => {
  const { program, server: at, hostKey } = await serveAlknet()
  const { path: identity } = await clientKey()
  const open = () => openSession({ server: at, hostKeys: hostKey.fingerprint, identity })
  for (let count = 0; count < 64; count++) {
    const session = await open()
    afterwards(() => session.close())
  }
  const line =
    /INFO session refused remote_addr=127\.0\.0\.1 user=alknet key_fingerprint=SHA256:\S+ reason="too many sessions with this key"/
  // So many lines about one source in a second are all that is logged.
  await vi.waitFor(async () => {
    expect(await rejection(open())).toMatchObject({ code: 'ERR_ALKNET_TOO_MANY_SESSIONS' })
    expect(program.stderr).toMatch(line)
  }, 20_000)
})

it('bounds what one session, and all of them, keep open or waiting', async () => {
  const limits = { maxPendingPerSession: 2, maxChannels: 3 }
  const full = { code: 'ERR_ALKNET_CHANNEL_REJECTED', reason: 'resource-shortage' }
  const to = await server(limits)
  const options = await reach(to.started)
  const [one, two] = [await openSession(options), await openSession(options)]
  afterwards(() => Promise.all([one.close(), two.close()]))
  const first = discard(await one.open())
  discard(await one.open())
  expect(await rejection(one.open())).toMatchObject(full)
  discard(await two.open())
  expect(await rejection(two.open())).toMatchObject(full)
  // What a stream took is given back with it.
  const accepted = (await nextConnection(to.started)).stream
  const ended = closing(accepted.resume())
  first.destroy()
  await ended
  discard(await two.open())
})

it('slows down a session whose opens are refused, and no other', async () => {
  const to = await server({ maxRefusedOpens: 20 })
  const ssh = await to.raw().logIn(key)
  const opens = 30
  const began = performance.now()
  for (let number = 0; number < opens; number += 1) ssh.send(ssh.open(number, 'alknet-nowhere'))
  await goodClient(to)
  for (let answers = 0; answers < opens; answers += 1) {
    expect((await ssh.receive())?.[0]).toBe(MSG.CHANNEL_OPEN_FAILURE)
  }
  // Ten too many at 20 a second: no sooner than that, whatever the machine.
  expect(performance.now() - began).toBeGreaterThan(450)
})

it('does not slow down streams that the program takes', async () => {
  const { server: taking, session } = await sessionPair({
    serve: { limits: { maxRefusedOpens: 1 } },
  })
  taking.onConnection((stream) => stream.on('error', () => {}).pipe(stream))
  for (let count = 0; count < 200; count += 1) {
    const stream = await session.open()
    stream.end('x')
    expect(await read(stream)).toBe('x')
  }
})

it('slows down requests for remote forwards, which it refuses', async () => {
  const to = await server({ maxRequests: 20 })
  const ssh = await to.raw().logIn(key)
  const began = performance.now()
  for (let sent = 0; sent < 30; sent += 1) {
    ssh.send(message(MSG.GLOBAL_REQUEST, 'tcpip-forward', 1, '127.0.0.1', u32(0)))
  }
  for (let answers = 0; answers < 30; answers += 1) {
    expect((await ssh.receive())?.[0]).toBe(MSG.REQUEST_FAILURE)
  }
  expect(performance.now() - began).toBeGreaterThan(450)
})

describe('chacha20-poly1305', () => {
  const chacha = 'chacha20-poly1305@openssh.com'

  it.each([
    ['is not offered to a client without strict key exchange', 'curve25519-sha256', false],
    ['is offered to one with it', 'curve25519-sha256,kex-strict-c-v00@openssh.com', true],
  ])('%s', async (_what, kex, isOffered) => {
    const ssh = (await server()).raw()
    const offer = { kex, cipher: `${chacha},aes128-gcm@openssh.com` }
    await ssh.greet()
    ssh.send(message(MSG.KEXINIT, Buffer.alloc(16, 1), ...offerLists(offer.kex, offer.cipher)))
    const ciphers = nameLists((await ssh.expect(MSG.KEXINIT)) ?? Buffer.alloc(0))[2]?.split(',')
    expect(ciphers).toContain('aes128-gcm@openssh.com')
    expect(ciphers?.includes(chacha)).toBe(isOffered)
  })

  it('is not offered to a client that waits for the server to begin', async () => {
    const ssh = (await server()).raw()
    await ssh.greet()
    const offer = nameLists((await ssh.expect(MSG.KEXINIT)) ?? Buffer.alloc(0))
    expect(offer[2]).toBe('aes128-gcm@openssh.com,aes256-gcm@openssh.com')
    expect(offer[0]).toContain('kex-strict-s-v00@openssh.com')
  })

  it('is refused to a client that has nothing else and no strict key exchange', async () => {
    const ssh = (await server()).raw()
    await ssh.greet()
    ssh.send(message(MSG.KEXINIT, Buffer.alloc(16, 1), ...offerLists('curve25519-sha256', chacha)))
    ssh.send(message(MSG.ECDH_INIT, text(Buffer.alloc(32, 9))))
    expect(await ssh.expect(MSG.ECDH_REPLY)).toBeUndefined()
  })
})

function offerLists(kex: string, cipher: string): (string | number | Buffer)[] {
  const mac = 'hmac-sha2-256-etm@openssh.com'
  return [kex, 'ssh-ed25519', cipher, cipher, mac, mac, 'none', 'none', '', '', 0, u32(0)]
}

withSources('500 sockets that say next to nothing', () => {
  it('are cut, and a good client is served meanwhile', async () => {
    const limits = { maxUnauthenticatedPerSource: 500, maxHandshakesPerSource: 10_000 }
    const loose = {
      ...limits,
      maxUnauthenticated: 1_000,
      earlyDrop: 1_000,
      penalties: false,
    } as const
    const to = await server({ ...loose, loginTimeout: 1_500 })
    const attackers: RawSsh[] = []
    while (attackers.length < 500) {
      const some = Array.from({ length: 50 }, () => to.raw(other))
      await Promise.all(some.map((ssh) => once(ssh.socket, 'connect')))
      attackers.push(...some)
    }
    const drips: NodeJS.Timeout[] = []
    afterwards(() => drips.forEach(clearInterval))
    const drip = (socket: Socket, bytes: string) => {
      let at = 0
      drips.push(setInterval(() => socket.write(bytes[at++ % bytes.length] as string), 1_000))
    }
    await Promise.all(
      attackers.map(async (ssh, number) => {
        if (number % 5 === 0) drip(ssh.socket, 'SSH-2.0-slow')
        if (number % 5 < 2) return
        await ssh.greet()
        if (number % 5 === 2) drip(ssh.socket, '\0\0\x04\0')
        if (number % 5 === 3) await ssh.exchange()
        // The rest is silent after the greeting.
      }),
    )
    await goodClient(to)
    await Promise.all(attackers.map((ssh) => ssh.closed))
    await goodClient(to)
  })
})

withSources('a storm of connections', () => {
  it('is refused but for what one source may have, and others are served', async () => {
    const to = await server({ penalties: false })
    // As many as any system's listen backlog holds: SYNs that are dropped come again after seconds only.
    const storm = Array.from({ length: 100 }, () => to.raw(other))
    const good = goodClient(to)
    const letIn = await Promise.all(storm.map(isLetIn))
    expect(letIn.filter((yes) => yes).length).toBeLessThanOrEqual(10)
    await good
  })

  it('of those who may log in is served to the last', async () => {
    const limits = { maxUnauthenticatedPerSource: 200, maxHandshakesPerSource: 200 }
    const to = await server({ ...limits, maxSessionsPerKey: 200, earlyDrop: 200 })
    const options = await reach(to.started)
    const sessions = await Promise.all(Array.from({ length: 60 }, () => openSession(options)))
    for (const session of sessions) await session.close()
    expect(sessions).toHaveLength(60)
  })
})

withSources('a server without file descriptors', () => {
  it('closes who comes, does not spin, and recovers', async () => {
    const own = await clientKey()
    const script = fileURLToPath(new URL('support/children/serve.mjs', import.meta.url))
    const limits = { maxUnauthenticatedPerSource: 500, maxHandshakesPerSource: 10_000 }
    const loose = { ...limits, maxUnauthenticated: 500, earlyDrop: 500, penalties: false }
    const program = start('prlimit', [
      '--nofile=64:64',
      process.execPath,
      script,
      own.publicPath,
      'echo',
      JSON.stringify({ limits: loose }),
    ])
    const at = await program.json<{ server: string; hostKeys: string }>()
    const descriptors = () => readdirSync(`/proc/${program.pid}/fd`).length
    const before = descriptors()
    const [host, port] = at.server.split(':')
    const storm = Array.from({ length: 150 }, () => {
      const socket = tcpConnect({ host: host as string, port: Number(port), localAddress: other })
      afterwards(() => socket.destroy())
      return socket.on('error', () => {}).resume()
    })
    // Those that find no descriptor are closed; the others are left waiting.
    await Promise.any(storm.map((socket) => once(socket, 'close')))
    expect(descriptors()).toBeGreaterThanOrEqual(60)
    const busy = processorTime(program.pid)
    await new Promise((resolve) => setTimeout(resolve, 1_000))
    // In hundredths of a second: a loop that spins takes them all.
    expect(processorTime(program.pid) - busy).toBeLessThan(60)
    for (const socket of storm) socket.destroy()
    await expect.poll(descriptors).toBeLessThanOrEqual(before + 2)
    const stream = discard(await connect({ ...at, identity: own.path }))
    stream.end('back again')
    expect(await read(stream)).toBe('back again')
  })
})

/** User and system time of a process, in clock ticks (proc(5)). */
function processorTime(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? []
  return Number(fields[11]) + Number(fields[12])
}
