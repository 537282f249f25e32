import { describe, expect, it } from 'vitest'
import { connect } from '../index.js'
import { discard, nextConnection, reach, rejection, startServer } from './support/alknet.js'
import { say } from './support/bytes.js'

describe('a server with several addresses', () => {
  it('listens at each of them', async () => {
    const server = await startServer({ listen: ['127.0.0.1:0', 'tcp://127.0.0.1:0'] })
    expect(new Set(server.addresses).size).toBe(2)
    for (const address of server.addresses) {
      const accepted = nextConnection(server)
      const client = discard(
        await connect({ ...(await reach(server)), server: `tcp://${address}` }),
      )
      await say(client, (await accepted).stream, address)
    }
  })

  it('says so when addresses and transports do not go together', async () => {
    const listen = ['127.0.0.1:0', '127.0.0.1:0', '127.0.0.1:0']
    expect(await rejection(startServer({ listen, transport: ['tcp', 'tcp'] }))).toMatchObject({
      code: 'ERR_ALKNET_CONFIG',
      message: '3 addresses and 2 transports: give one of either, or as many',
    })
  })
})
