// A long way: half a second there and back.
import { ends, overLink } from '../lib/over-link.mjs'

export { ends }

export const title = '500 ms there and back'
export const runs = {
  full: 'a link of 250 ms each way: connecting five times, then 20 s of one stream with a window of 8 MiB, down',
  quick:
    'a link of 250 ms each way: connecting once, then 6 s of one stream with a window of 8 MiB, down',
}
export const limit = { full: 120, quick: 45 }

const DELAY = 250
const WINDOW = 8 * 2 ** 20

export async function script(kit) {
  // More than the window fits on the way.
  const link = { delay: DELAY, buffer: 8 * WINDOW }
  const times = []
  for (let turn = 0; turn < kit.pick(5, 1); turn++) {
    const { client, stop } = await overLink(kit, { link })
    times.push(client.ready.connected / (2 * DELAY))
    await stop()
  }
  kit.figure({
    name: 'connect',
    what: 'round trips to connect and log in, worst',
    value: Math.max(...times),
    most: 9,
  })
  const pair = await overLink(kit, { mode: 'source', link, window: WINDOW })
  const rate = await pair.client.call('rate', kit.pick(20_000, 6_000))
  const possible = WINDOW / ((2 * DELAY) / 1000)
  kit.figure({
    name: 'rate',
    what: `one stream, of what its window allows (${(possible / 1e6).toFixed(1)} MB/s)`,
    value: rate / possible,
    unit: '×',
    least: 0.6,
  })
  await pair.stop()
}
