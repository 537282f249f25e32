import { expect, it, vi } from 'vitest'
import { events, play, populate } from '../benches/lib/scale.mjs'
import { type AlknetEvent, createAlknetEventTarget, openSession } from '../index.js'
import { reach, startServer } from './support/alknet.js'
import { afterwards } from './support/cleanup.js'
import { natsCluster } from './support/nats.js'
import { describeWith } from './support/peers.js'

const CLIENTS = 20
const EVENTS = 400

describeWith('nats-server', 'the arithmetic of docs/scale.md', () => {
  it('is what two servers count', async () => {
    const nats = (await natsCluster(1)).map(({ url }) => url)
    const servers = await Promise.all([0, 1].map(() => startServer({ bus: { nats } })))
    const world = populate({ clients: CLIENTS, servers: 2, topics: 30, perClient: 4 })
    let heard = 0
    const clients = await Promise.all(
      (world.subscriptions as number[][]).map(async (topics, client) => {
        const server = servers[client % 2] as (typeof servers)[0]
        const session = await openSession(await reach(server))
        afterwards(() => session.close())
        const target = createAlknetEventTarget({ session })
        for (const topic of topics) target.addEventListener(`topic${topic}`, () => heard++)
        for (const topic of topics) {
          await vi.waitFor(
            async () => expect(await target.ready(`topic${topic}`)).toBe(true),
            20_000,
          )
        }
        return target
      }),
    )
    const all = [...events(world, EVENTS)] as { client: number; topic: number }[]
    for (const { client, topic } of all) {
      await clients[client]?.publish(new CustomEvent(`topic${topic}`, { detail: 1 }) as AlknetEvent)
    }
    const expected = play(world, all)
    const sum = (values: Float64Array) => values.reduce((one, two) => one + two, 0)
    await vi.waitFor(() => expect(heard).toBe(sum(expected.delivered)), 20_000)
    const counted = servers.map((server) => server.metrics().bus)
    for (const name of ['published', 'received', 'delivered'] as const) {
      expect(counted.map((bus) => bus?.[name])).toEqual([...expected[name]])
    }
    expect(counted.map((bus) => bus?.droppedCluster)).toEqual([0, 0])
  })
})
