import { once } from 'node:events'
import { describe, expect, it } from 'vitest'
import { type AlknetServer, type AlknetSession, connect, openSession } from '../index.js'
import { discard, reach, rejection, startServer } from './support/alknet.js'
import { afterwards } from './support/cleanup.js'
import { serveAlknet } from './support/cli.js'
import { makeKey, strangerKey } from './support/keys.js'
import { freePort } from './support/net.js'

const portOf = (server: AlknetServer) => Number(server.addresses[0]?.split(':')[1])

/** What it takes to reach any of `servers`, in their order. */
async function reachAll(...servers: AlknetServer[]) {
  const each = await Promise.all(servers.map(reach))
  return {
    server: each.map(({ server }) => server),
    hostKeys: servers.map(({ hostKeyFingerprint }) => hostKeyFingerprint),
    identity: each[0]?.identity ?? '',
  }
}

let made = 0

/** Servers of which each has a key of its own. */
const startServers = (count: number) =>
  Promise.all(
    Array.from({ length: count }, async () =>
      startServer({ hostKey: (await makeKey(`host${made++}`)).path }),
    ),
  )

async function open(to: Awaited<ReturnType<typeof reachAll>>): Promise<AlknetSession> {
  const session = await openSession(to)
  afterwards(() => session.close())
  return session
}

describe('a client of several servers', () => {
  it('goes on to the next when one is not there', async () => {
    const [server] = (await startServers(1)) as [AlknetServer]
    const to = await reachAll(server)
    const dead = `127.0.0.1:${await freePort()}`
    const stream = discard(await connect({ ...to, server: [dead, ...to.server] }))
    expect(stream.remotePort).toBe(portOf(server))
  })

  it('goes on to the next when one shows a key that is not expected, or will not let it in', async () => {
    const [stranger, server] = (await startServers(2)) as [AlknetServer, AlknetServer]
    const to = await reachAll(stranger, server)
    const hostKeys = [server.hostKeyFingerprint]
    const stream = discard(await connect({ ...to, hostKeys }))
    expect(stream.remotePort).toBe(portOf(server))
    const others = await startServer({ authorizedKeys: (await strangerKey()).publicPath })
    const next = discard(await connect(await reachAll(others, server)))
    expect(next.remotePort).toBe(portOf(server))
  })

  it('tells what became of each when none is to be had', async () => {
    const [stranger] = (await startServers(1)) as [AlknetServer]
    const to = {
      ...(await reachAll(stranger)),
      hostKeys: 'SHA256:qmjHr2LO8oJusNu8MHFYx8FJSQSlmGtiDPzkEbXL4Lw',
    }
    const dead = `127.0.0.1:${await freePort()}`
    const refused = await rejection(connect({ ...to, server: [dead, ...to.server] }))
    // Another attempt may find the first: that is the answer for who tries again.
    expect(refused).toMatchObject({ code: 'ECONNREFUSED' })
    expect(refused).toMatchObject({ hint: expect.stringMatching(/before this: .*host key/) })
    const all = await rejection(connect({ ...to, server: [...to.server, ...to.server] }))
    expect(all).toMatchObject({ code: 'ERR_ALKNET_HOST_KEY_CHANGED' })
  })

  it('goes round: the server that was just lost is tried last', async () => {
    const servers = (await startServers(3)) as [AlknetServer, AlknetServer, AlknetServer]
    const session = await open(await reachAll(...servers))
    expect(session.remotePort).toBe(portOf(servers[0]))
    for (const lost of [0, 1] as const) {
      const up = once(session, 'up')
      await servers[lost].close()
      await up
      expect(session.remotePort).toBe(portOf(servers[lost + 1] as AlknetServer))
      expect(session.hostKeyFingerprint).toBe(servers[lost + 1]?.hostKeyFingerprint)
    }
    expect(session.metrics()).toMatchObject({ sessions: 3 })
  })

  it('goes to another server when its own is killed', async () => {
    const [{ program, server, hostKey }, other] = await Promise.all([
      serveAlknet(),
      startServers(1),
    ])
    const to = await reachAll(...other)
    const session = await open({
      ...to,
      server: [server, ...to.server],
      hostKeys: [hostKey.fingerprint, ...to.hostKeys],
    })
    const up = once(session, 'up')
    program.kill('SIGKILL')
    await up
    expect(session.remotePort).toBe(portOf(other[0] as AlknetServer))
  })
})
