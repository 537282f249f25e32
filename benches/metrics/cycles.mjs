import { setTimeout as sleep } from 'node:timers/promises'
import { closeStream, greet, greeted } from '../lib/io.mjs'

export const title = 'Connect and close'
export const about =
  'Sessions with one stream and one byte each, opened and closed one after the other: descriptors and resident memory of both ends, the last against what they were after the first 100. The heap that V8 has reserved more is part of it. Then as many again: what a leak adds, it adds each time.'
export const units = {
  cycles_fds_leaked: '',
  cycles_rss_growth_MiB: 'MiB',
  cycles_v8_growth_MiB: 'MiB',
  cycles_rss_again_MiB: 'MiB',
}
export const settings = { full: { first: 100, all: 1000 }, quick: { first: 50, all: 250 } }
export const kind = 'streams'

export const server = ({ peer, context }) => peer.listen(context, greet)

export async function client(kit) {
  const { first, all } = kit.settings
  await cycles(kit, first)
  await sleep(300)
  const before = await kit.bothEnds({ gc: true })
  await cycles(kit, all - first)
  const after = await settled(kit, before)
  await cycles(kit, all)
  const again = await settled(kit, after)
  return {
    cycles_fds_leaked: growth(before, after, 'fds'),
    cycles_rss_growth_MiB: growth(before, after, 'rss') / 2 ** 20,
    cycles_v8_growth_MiB: growth(before, after, 'heapTotal') / 2 ** 20,
    cycles_rss_again_MiB: growth(after, again, 'rss') / 2 ** 20,
  }
}

async function cycles({ peer, context, address }, count) {
  for (let turn = 0; turn < count; turn++) {
    const session = await peer.openSession(context, address)
    await closeStream(await greeted(await session.open()))
    await session.close()
  }
}

/** The state once the descriptors are back, or after 3 s. */
async function settled({ bothEnds }, before) {
  for (let turn = 0; ; turn++) {
    await sleep(300)
    const now = await bothEnds({ gc: true })
    if (turn >= 10 || growth(before, now, 'fds') <= 0) return now
  }
}

const growth = (before, after, what) =>
  after.server[what] - before.server[what] + after.client[what] - before.client[what]
