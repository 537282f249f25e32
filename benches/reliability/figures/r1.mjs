// Many streams at once: that they all work, what they cost while idle, and that nothing stays when they are gone.
import { echo, echoed, session, startServer } from '../lib/ends.mjs'
import { MB } from '../lib/look.mjs'

export const title = 'many streams at once'
export const runs = {
  full: '10,000 streams on 10 sessions, 1 KiB echoed on each; server and client in a process each',
  quick: '2,000 streams on 10 sessions, 1 KiB echoed on each; server and client in a process each',
}
export const limit = { full: 120, quick: 60 }

const SESSIONS = 10

export async function script(kit) {
  const count = kit.pick(10_000, 2_000)
  const server = await kit.start('server')
  const client = await kit.start('client', server.ready)
  await client.call('open', SESSIONS, 2)
  await client.call('close')
  const base = await both(server, client)
  const answered = await client.call('open', SESSIONS, count / SESSIONS)
  const full = await both(server, client)
  await client.call('close')
  const after = {
    server: await server.settled(base.server),
    client: await client.settled(base.client),
  }

  const perStream = (end) => (full[end].rss - base[end].rss) / 1000 / count
  const name = (text) => `${text}, ${count.toLocaleString('en-US')} streams`
  kit.figure({
    name: 'answered',
    what: name('streams that answered'),
    value: answered,
    least: count,
  })
  kit.figure({
    name: 'server rss',
    what: name('server, resident'),
    value: full.server.rss / MB,
    unit: 'MB',
    most: 350,
  })
  for (const end of ['server', 'client']) {
    kit.figure({
      name: `${end} stream`,
      what: `${end}, per idle stream`,
      value: perStream(end),
      unit: 'KB',
      most: 20,
    })
    for (const thing of ['fds', 'threads', 'active']) {
      kit.figure({
        name: `${end} ${thing}`,
        what: `${end}, ${words[thing]} left when all are closed`,
        value: after[end][thing] - base[end][thing],
        most: 2,
      })
    }
    kit.figure({
      name: `${end} left`,
      what: `${end}, resident memory kept when all are closed`,
      value: (after[end].rss - base[end].rss) / MB,
      unit: 'MB',
    })
  }
}

const words = { fds: 'descriptors', threads: 'threads', active: 'active resources' }

const both = async (server, client) => ({
  server: await server.probe(),
  client: await client.probe(),
})

export const ends = {
  async server(_, context) {
    return await startServer(context, echo)
  },

  async client(ready, context) {
    const sessions = []
    const streams = []
    return {
      /** Resolves to how many streams have sent back what was sent on them. */
      async open(count, perSession) {
        for (let turn = 0; turn < count; turn++) sessions.push(await session(context, ready))
        let answered = 0
        for (const [at, one] of sessions.entries()) {
          for (let first = 0; first < perSession; first += 50) {
            const wave = Array.from(
              { length: Math.min(50, perSession - first) },
              async (_, index) => {
                const stream = await one.open()
                streams.push(stream)
                await echoed(stream, Buffer.alloc(1024, at * perSession + first + index))
                answered += 1
              },
            )
            await Promise.all(wave)
          }
        }
        return answered
      },
      async close() {
        for (const stream of streams.splice(0)) stream.on('error', () => {}).destroy()
        await Promise.all(sessions.splice(0).map((one) => one.close()))
      },
    }
  },
}
