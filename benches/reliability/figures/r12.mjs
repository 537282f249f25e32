// A bad link: one segment in twenty is lost.
import { ends, overLink } from '../lib/over-link.mjs'

export { ends }

export const title = '5 % loss each way, 50 ms'
export const runs = {
  full: '2 minutes (10 are wanted) of transfers of 8 MiB there and back, one after the other on one session, over a link of 25 ms each way that loses 5 % of the segments each way; a lost one is a delay of a round trip or more for all behind it',
  quick:
    '10 s (10 minutes are wanted) of transfers of 2 MiB there and back, one after the other on one session, over a link of 25 ms each way that loses 5 % of the segments each way; a lost one is a delay of a round trip or more for all behind it',
}
export const limit = { full: 240, quick: 60 }

const MiB = 2 ** 20

export async function script(kit) {
  const random = () => kit.random.below(2 ** 24) / 2 ** 24
  const { client, stop } = await overLink(kit, { link: { delay: 25, loss: 0.05, random } })
  const until = Date.now() + kit.pick(120, 10) * 1000
  const bytes = kit.pick(8, 2) * MiB
  const started = Date.now()
  let [count, equal] = [0, 0]
  while (Date.now() < until) {
    count += 1
    equal += Number(await client.call('transfer', bytes, kit.random.below(2 ** 31)))
  }
  const { down } = await client.call('events')
  const seconds = (Date.now() - started) / 1000
  const minutes = seconds / 60
  kit.figure({ name: 'minutes', what: 'minutes of transfer', value: minutes })
  kit.figure({ name: 'lost', what: `seed ${kit.seed}: sessions lost`, value: down, most: 0 })
  const what = `of ${count} transfers, those with unequal SHA-256`
  kit.figure({ name: 'unequal', what, value: count - equal, most: 0 })
  const rate = (2 * count * bytes) / 1e6 / seconds
  kit.figure({ name: 'rate', what: 'both directions together', value: rate, unit: 'MB/s' })
  await stop()
}
