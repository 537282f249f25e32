import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { type AlknetConnectOptions, type AlknetServeOptions, connect } from '../index.js'
import {
  closing,
  discard,
  nextConnection,
  reach,
  rejection,
  startServer,
} from './support/alknet.js'
import { MiB, receive, say, send } from './support/bytes.js'
import { clientKey, hostKey, scratch, strangerKey } from './support/keys.js'
import { startEcho } from './support/net.js'
import { start } from './support/program.js'

const startIroh = (options?: AlknetServeOptions) => startServer({ transport: 'iroh', ...options })

/** A stream over iroh, both ends. */
async function pair(server: Awaited<ReturnType<typeof startServer>>, more?: AlknetConnectOptions) {
  const { path: identity } = await clientKey()
  const accepted = nextConnection(server)
  const client = discard(await connect(server.connectionString, { identity, ...more }))
  return { client, peer: (await accepted).stream }
}

describe('iroh', () => {
  it('carries a stream, without a relay and without the internet', async () => {
    const server = await startIroh()
    expect(server.endpointId).toMatch(/^[0-9a-f]{64}$/)
    expect(server.connectionString).toContain(`alknet://${server.endpointId}?`)
    const { client, peer } = await pair(server)
    await say(client, peer, 'there')
    await say(peer, client, 'and back')
    expect([client.info.transport, peer.info.transport]).toEqual(['iroh', 'iroh'])
    expect(peer.remoteAddress).toBe('127.0.0.1')
  })

  it('takes the id and the address as options, in upper case too', async () => {
    const server = await startIroh()
    const { server: _, ...options } = await reach(server)
    const accepted = nextConnection(server)
    const peer = server.endpointId?.toUpperCase() ?? ''
    const irohAddress = [...server.addresses]
    const client = discard(await connect({ ...options, peer, irohAddress }))
    await say(client, (await accepted).stream, 'by options')
  })

  it('keeps its id in a key file that only its owner can read', async () => {
    const irohKey = join(scratch(), 'endpoint')
    const first = await startIroh({ irohKey })
    expect(statSync(irohKey).mode & 0o777).toBe(0o600)
    const key = readFileSync(irohKey)
    expect(await rejection(startIroh({ irohKey }))).toMatchObject({
      code: 'EADDRINUSE',
      phase: 'listen',
      hint: 'a second server needs a key of its own',
    })
    await first.close()
    const second = await startIroh({ irohKey })
    expect(second.endpointId).toBe(first.endpointId)
    expect(readFileSync(irohKey).equals(key)).toBe(true)
    expect((await startIroh()).endpointId).not.toBe(first.endpointId)
  })

  it('carries megabytes both ways, and the end of one way before the other', async () => {
    const { client, peer } = await pair(await startIroh())
    const total = 8 * MiB
    const there = receive(peer, total)
    await send(client, total)
    client.end()
    await there
    const back = receive(client, total)
    await send(peer, total)
    peer.end()
    await back
  })

  it('tells both ends of a close at once', async () => {
    const server = await startIroh({ keepalive: false })
    const { client, peer } = await pair(server, { keepalive: false })
    const lost = closing(client)
    const gone = closing(peer)
    await server.close()
    expect(await lost).toMatchObject({ code: 'ERR_ALKNET_SESSION_CLOSED' })
    await gone
    const second = await startIroh({ keepalive: false })
    const ends = await pair(second, { keepalive: false })
    const heard = closing(ends.peer)
    ends.client.destroy()
    await heard
  })

  it('does not stand in for the host key', async () => {
    const server = await startIroh()
    const { path: identity } = await clientKey()
    const hostKeys = (await strangerKey()).fingerprint
    const peer = `${server.endpointId}`
    const attempt = connect({ peer, irohAddress: server.addresses, hostKeys, identity })
    expect(await rejection(attempt)).toMatchObject({ code: 'ERR_ALKNET_HOST_KEY_CHANGED' })
    const unknown = connect({ peer, irohAddress: server.addresses, knownHosts: [], identity })
    expect(await rejection(unknown)).toMatchObject({ code: 'ERR_ALKNET_HOST_KEY_UNKNOWN' })
  })

  it('is one way of several, and the stream says which', async () => {
    const transport = ['iroh', 'tcp'] as const
    const listen = ['127.0.0.1:0', '127.0.0.1:0']
    const server = await startServer({ transport, listen })
    const [irohAddress, tcp] = server.addresses
    const peer = `${server.endpointId}`
    const options = { ...(await reach(server)), peer, server: `${tcp}`, transport }
    // First, for an endpoint remembers where a peer was.
    const dead = { irohAddress: '127.0.0.1:9', connectTimeout: 4_000 }
    const first = discard(await connect({ ...options, ...dead }))
    expect(first.info.transport).toBe('tcp')
    const second = discard(await connect({ ...options, irohAddress: `${irohAddress}` }))
    expect(second.info.transport).toBe('iroh')
  })

  it('counts penalties against the endpoint, not the address', async () => {
    const penalties = { authFailed: 60_000, threshold: 1 }
    const transport = ['iroh', 'tcp'] as const
    const listen = ['127.0.0.1:0', '127.0.0.1:0']
    const server = await startServer({ transport, listen, limits: { penalties } })
    const { path: identity } = await strangerKey()
    const stranger = connect(server.connectionString, { identity })
    expect(await rejection(stranger)).toMatchObject({ code: 'ERR_ALKNET_AUTH_REJECTED' })
    // The process dials from one endpoint, whoever logs in.
    const { path: known } = await clientKey()
    await rejection(connect(server.connectionString, { identity: known, connectTimeout: 2_000 }))
    const options = await reach(server)
    discard(await connect({ ...options, server: `${server.addresses[1]}` }))
  })

  it.each<[string, AlknetConnectOptions]>([
    ['nowhere to go', { peer: 'a'.repeat(64) }],
    ['no endpoint id', { peer: 'host', irohAddress: '127.0.0.1:9' }],
    ['no address', { peer: 'a'.repeat(64), irohAddress: 'host:9' }],
    ['no relay', { peer: 'a'.repeat(64), irohRelay: 'relay' }],
    ['two ways and no order', { peer: 'a'.repeat(64), server: 'host' }],
    ['a peer without iroh', { peer: 'a'.repeat(64), server: 'host', transport: 'tcp' }],
    [
      'a proxy without a relay',
      { peer: 'a'.repeat(64), irohAddress: '127.0.0.1:9', proxy: 'http://p' },
    ],
  ])('is ERR_ALKNET_CONFIG: %s', async (_what, options) => {
    const [host, client] = await Promise.all([hostKey(), clientKey()])
    const all = { hostKeys: host.fingerprint, identity: client.path, ...options }
    expect(await rejection(connect(all))).toMatchObject({ code: 'ERR_ALKNET_CONFIG' })
  })

  it('is served and reached by the command line', async () => {
    const alknet = fileURLToPath(new URL('../native/alknet', import.meta.url))
    const [host, client] = await Promise.all([hostKey(), clientKey()])
    const keys = ['--key', host.path, '--authorized-keys', client.publicPath]
    const place = ['--transport', 'iroh', '--listen', '127.0.0.1:0']
    const server = start(alknet, ['serve', ...keys, ...place, '--json'])
    const { connectionString, endpointId, addresses } = await server.json<{
      connectionString: string
      endpointId: string
      addresses: string[]
    }>()
    expect(connectionString).toContain(endpointId)
    const echo = await startEcho()
    const identity = ['-i', client.path, '-W', echo.server]
    const peer = ['--peer', endpointId, '--iroh-address', `${addresses[0]}`]
    for (const where of [[connectionString], [...peer, '--host-key', host.fingerprint]]) {
      const program = start(alknet, ['connect', ...where, ...identity])
      program.stdin.end('through\n')
      expect(await program.line()).toBe('through')
      expect(await program.exit).toMatchObject({ code: 0 })
    }
  })
})
