/** What runs over TCP goes through proxies too, and so do the targets of a server; over plain TCP: proxy.test.ts. */
import { expect, it } from 'vitest'
import { connect } from '../index.js'
import {
  discard,
  nextConnection,
  reach,
  rejection,
  sessionPair,
  startServer,
} from './support/alknet.js'
import { MiB, receive, say, send } from './support/bytes.js'
import { clientKey, hostKey } from './support/keys.js'
import { freePort, startEcho } from './support/net.js'
import { describeWith } from './support/peers.js'
import { startMicrosocks, startTinyproxy } from './support/proxies.js'
import { over } from './support/transports.js'

const login = { user: 'me', password: 'p.ss-word' }
const proxies = [
  { peer: 'microsocks', start: startMicrosocks },
  { peer: 'tinyproxy', start: startTinyproxy },
] as const

/** The error of an attempt, which must not repeat the password. */
async function failure(attempt: Promise<unknown>) {
  const error = (await rejection(attempt)) as Error & { hint?: string }
  expect(`${error.message} ${error.hint}`).not.toMatch(/p\.ss-word|secret/)
  return error
}

for (const { peer, start } of proxies) {
  for (const transport of ['tls', 'ws', 'wss'] as const) {
    describeWith(peer, `${transport} through ${peer}`, () => {
      it('reaches a server by its name, and carries bulk', async () => {
        const [both, { url: proxy }] = [await over(transport), await start({ login })]
        const server = await startServer(both.serve)
        const port = server.addresses[0]?.split(':').at(-1)
        const to = { ...(await reach(server)), ...both.connect, server: `localhost:${port}` }
        const accepted = nextConnection(server)
        const client = discard(await connect({ ...to, proxy }))
        const { stream } = await accepted
        expect(client.info.transport).toBe(transport)
        expect(client.remotePort).toBe(Number(new URL(proxy).port))
        await Promise.all([send(client, 2 * MiB), receive(stream, 2 * MiB)])
        await Promise.all([send(stream, 2 * MiB), receive(client, 2 * MiB)])
      })

      it('is ERR_ALKNET_PROXY when the proxy lets nobody in or nobody is there', async () => {
        const [both, { url }] = [await over(transport), await start({ login })]
        const [host, client] = await Promise.all([hostKey(), clientKey()])
        const keys = { hostKeys: host.fingerprint, identity: client.path }
        const to = { ...keys, ...both.connect, server: `127.0.0.1:${await freePort()}` }
        for (const proxy of [url, url.replace('p.ss-word', 'secret')]) {
          const error = await failure(connect({ ...to, proxy }))
          expect(error).toMatchObject({ code: 'ERR_ALKNET_PROXY', phase: 'tcp' })
        }
      })
    })
  }

  describeWith(peer, `serve() through ${peer}`, () => {
    it('leads streams to their targets, of which it asks the proxy', async () => {
      const { url: proxy } = await start({ login })
      const { session } = await sessionPair({ serve: { forwarding: true, proxy } })
      const echo = await startEcho()
      const stream = discard(await session.open(`localhost:${echo.port}`))
      await say(stream, stream, 'there and back')
    })

    it('tells of a target that refuses, and not of a proxy that does', async () => {
      const { url } = await start({ login })
      const target = `127.0.0.1:${await freePort()}`
      const right = await sessionPair({ serve: { forwarding: true, proxy: url } })
      const refused = await failure(right.session.open(target))
      expect(refused).toMatchObject({ phase: 'channel' })
      expect(refused).toMatchObject(
        peer === 'microsocks'
          ? { code: 'ECONNREFUSED' }
          : { code: 'ERR_ALKNET_CHANNEL_REJECTED', reason: 'connect-failed' },
      )
      const proxy = url.replace('p.ss-word', 'secret')
      const wrong = await sessionPair({ serve: { forwarding: true, proxy } })
      const error = await failure(wrong.session.open(target))
      expect(error).toMatchObject({ code: 'ERR_ALKNET_CHANNEL_REJECTED', reason: 'connect-failed' })
      expect(error.message).not.toContain(new URL(url).port)
    })
  })
}

describeWith('tinyproxy', 'serve() through a proxy with rules', () => {
  it('tells its clients that a target is forbidden', async () => {
    const { url: proxy } = await startTinyproxy({ onlyPort: 1 })
    const { session } = await sessionPair({ serve: { forwarding: true, proxy } })
    const error = await failure(session.open(`127.0.0.1:${await freePort()}`))
    expect(error).toMatchObject({ code: 'ERR_ALKNET_CHANNEL_REJECTED', reason: 'prohibited' })
  })
})
