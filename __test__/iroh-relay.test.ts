/** The leg to a relay through real proxies, as far as a relay that only listens can tell. */
import { describe, expect, it } from 'vitest'
import { connect } from '../index.js'
import { rejection, startServer } from './support/alknet.js'
import { clientKey } from './support/keys.js'
import { startTcp } from './support/net.js'
import { describeWith } from './support/peers.js'
import { startMicrosocks, startTinyproxy } from './support/proxies.js'

const login = { user: 'me', password: 'p.ss-word' }

/** A relay that hears what it is asked for and never answers. */
async function startRelay() {
  let hear = (_: Buffer) => {}
  const asked = new Promise<string>((resolve) => {
    hear = (head) => resolve(head.toString('latin1'))
  })
  const { port } = await startTcp((socket) => void socket.once('data', hear))
  return { irohRelay: `http://localhost:${port}`, asked }
}

/** Whom to reach by the relay alone. */
async function somebody() {
  const server = await startServer({ transport: 'iroh' })
  const { endpointId: peer = '', hostKeyFingerprint: hostKeys } = server
  return { peer, hostKeys, identity: (await clientKey()).path }
}

const proxies = [
  { peer: 'microsocks', start: startMicrosocks },
  { peer: 'tinyproxy', start: startTinyproxy },
] as const

describe('a relay', () => {
  it('is asked for its service, and the attempt ends by its signal', async () => {
    const { irohRelay, asked } = await startRelay()
    const abort = new AbortController()
    const attempt = connect({ ...(await somebody()), irohRelay, signal: abort.signal })
    const ended = rejection(attempt)
    expect(await asked).toMatch(/^GET \/relay HTTP\/1\.1\r\n/)
    abort.abort()
    expect(await ended).toMatchObject({ name: 'AbortError' })
  })
})

for (const { peer, start } of proxies) {
  describeWith(peer, `a relay behind ${peer}`, () => {
    it('is reached through it, by name', async () => {
      const { irohRelay, asked } = await startRelay()
      const { url: proxy, program } = await start({ login })
      const abort = new AbortController()
      const attempt = connect({ ...(await somebody()), irohRelay, proxy, signal: abort.signal })
      const ended = rejection(attempt)
      expect(await asked).toMatch(/^GET \/relay HTTP\/1\.1\r\n/)
      if (peer === 'microsocks') await program.complains(/connected to localhost:/)
      abort.abort()
      await ended
    })

    it('is not, and why is told, when the proxy lets nobody in', async () => {
      const { irohRelay } = await startRelay()
      const proxy = (await start({ login })).url.replace('p.ss-word', 'secret')
      const error = await rejection(connect({ ...(await somebody()), irohRelay, proxy }))
      expect(error).toMatchObject({ code: 'ERR_ALKNET_PROXY' })
      expect(String(error)).not.toContain('secret')
    })
  })
}
