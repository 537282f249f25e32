// Many short streams on one session: what the session keeps of each beside JavaScript's heap.
import { echo, echoed, ended, session, startServer } from '../lib/ends.mjs'
import { growth, nativeGrowth } from '../lib/look.mjs'

export const title = 'short streams on one session'
export const runs = {
  full: '100,000 streams on one session, 16 at a time, 20 bytes echoed on each and an end from both sides',
  quick:
    '10,000 streams on one session, 16 at a time, 20 bytes echoed on each and an end from both sides',
}
export const limit = { full: 240, quick: 60 }

const FIRST = 1_000

export async function script(kit) {
  const count = kit.pick(100_000, 10_000)
  const server = await kit.start('server')
  const client = await kit.start('client', server.ready)
  await client.call('streams', FIRST)
  const base = { server: await server.probe(), client: await client.probe() }
  const right = await client.call('streams', count)
  const after = { server: await server.probe(), client: await client.probe() }
  await client.call('close')
  const gone = { server: await server.probe(), client: await client.probe() }
  const many = `over ${count.toLocaleString('en-US')} short streams`
  kit.figure({
    name: 'right',
    what: 'streams that got their own bytes',
    value: right,
    least: count,
  })
  for (const end of ['server', 'client']) {
    kit.figure({
      name: `${end} growth`,
      what: `${end}, memory growth ${many}`,
      value: nativeGrowth(base[end], after[end]),
      unit: 'MB',
      most: 8,
    })
    kit.figure({
      name: `${end} left`,
      what: `${end}, of it resident when the session is closed`,
      value: nativeGrowth(base[end], gone[end]),
      unit: 'MB',
    })
    kit.figure({
      name: `${end} v8`,
      what: `${end}, growth of V8's heap, not in the above`,
      value: growth(base[end], after[end]) - nativeGrowth(base[end], after[end]),
      unit: 'MB',
    })
  }
}

export const ends = {
  async server(_, context) {
    return await startServer(context, echo)
  },

  async client(ready, context) {
    const one = await session(context, ready)
    let number = 0
    const stream = async () => {
      number += 1
      const bytes = Buffer.from(`this is stream ${number}`.padEnd(20))
      const opened = await one.open()
      await echoed(opened, bytes)
      await ended(opened)
    }
    return {
      async streams(count) {
        let left = count
        let right = 0
        const worker = async () => {
          while (left-- > 0) {
            await stream()
            right += 1
          }
        }
        await Promise.all(Array.from({ length: 16 }, worker))
        return right
      },
      close: () => one.close(),
    }
  },
}
