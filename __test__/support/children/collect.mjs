/** Opens streams on one session as argument 1 (JSON of connect options) says, lets go of them and collects garbage. */
import { once } from 'node:events'
import { setImmediate as turn } from 'node:timers/promises'
import { openSession } from '../../../index.js'

const session = await openSession(JSON.parse(process.argv[2]))

// A function of its own: a suspended one may keep its last stream.
async function openAndClose() {
  const stream = await session.open()
  stream.resume().end(Buffer.alloc(1_000))
  await once(stream, 'close')
  return new WeakRef(stream)
}

const actions = {
  /** Collects until stdin ends, which the parent does once it has seen every stream close. */
  async abandoned() {
    for (let i = 0; i < 20; i += 1) await session.open()
    let waiting = true
    process.stdin.resume().on('end', () => (waiting = false))
    while (waiting) {
      await turn()
      globalThis.gc()
    }
  },
  /** Collects until none of the closed streams is left in memory. */
  async closed() {
    const seen = []
    for (let i = 0; i < 200; i += 1) seen.push(await openAndClose())
    while (seen.some((stream) => stream.deref() !== undefined)) {
      await turn()
      globalThis.gc()
    }
    console.log('all collected')
  },
}

await actions[process.argv[3]]()
await session.close()
