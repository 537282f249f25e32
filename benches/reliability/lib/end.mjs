// One end of a script: a process of its own, told what to be by its environment and talked to over IPC.

import { loadScript } from './list.mjs'
import { probe } from './look.mjs'

const { id, end, args, context } = JSON.parse(process.env.ALKNET_END)
process.on('disconnect', () => process.exit(1))
for (const event of ['uncaughtException', 'unhandledRejection']) {
  process.on(event, (error) => process.send({ failed: describe(error) }))
}

const { ends } = await loadScript(id)
const { ready, ...calls } = await ends[end](args, context)
const all = { probe, ...calls }
process.on('message', async ({ id: number, call, args: given }) => {
  try {
    process.send({ id: number, value: await all[call](...given) })
  } catch (error) {
    process.send({ id: number, failed: describe(error) })
  }
})
process.send({ ready })

function describe(error) {
  const code = error?.code ? ` (${error.code})` : ''
  return `${error?.stack ?? error}${code}`
}
