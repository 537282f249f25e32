// Sessions that come and go, both ends in one process with its garbage collected: what a program sees of it.
import { echo, startServer } from '../lib/ends.mjs'
import { growth } from '../lib/look.mjs'
import { cycles } from './r2.mjs'

export const title = 'connect, echo, close, in one process'
export const runs = {
  full: '1,000 sessions one after the other, both ends in one process',
  quick: '300 sessions one after the other, both ends in one process',
}
export const limit = { full: 90, quick: 45 }

const FIRST = 100

export async function script(kit) {
  const count = kit.pick(1_000, 300)
  const both = await kit.start('both')
  await both.call('cycles', FIRST)
  const base = await both.settled({ fds: 0, threads: 0 })
  await both.call('cycles', count - FIRST)
  const after = await both.settled(base)
  kit.figure({
    name: 'growth',
    what: `growth after the first ${FIRST}`,
    value: growth(base, after),
    unit: 'MB',
    most: 15,
  })
  kit.figure({
    name: 'v8',
    what: "of it V8's heap",
    value: (after.v8 - base.v8) / 1e6,
    unit: 'MB',
  })
  for (const [thing, words] of Object.entries(things)) {
    kit.figure({ name: thing, what: `${words} left`, value: after[thing] - base[thing], most: 0 })
  }
}

const things = {
  handles: 'active handles',
  active: 'active resources',
  fds: 'descriptors',
  threads: 'threads',
}

export const ends = {
  async both(_, context) {
    const { ready } = await startServer(context, echo)
    return { cycles: (count) => cycles(context, ready, count) }
  },
}
