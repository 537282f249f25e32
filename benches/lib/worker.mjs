// One end of one measurement: a process of its own, told what to be by its environment and talked to over IPC.
import { probe } from './probe.mjs'
import { loadMetric, loadPeer } from './registry.mjs'

const task = JSON.parse(process.env.ALKNET_BENCH)
process.on('disconnect', () => process.exit(1))
for (const event of ['uncaughtException', 'unhandledRejection']) {
  process.on(event, (error) => process.send({ failed: describe(error) }))
}
const kit = { ...task, peer: await loadPeer(task.peer) }
const metric = await loadMetric(task.metric)
if (task.role === 'server') await beServer()
else await beClient()

async function beServer() {
  const { address, calls } = await metric.server(kit)
  const all = { ...calls, probe }
  process.on('message', async ({ id, call, args }) => {
    process.send({ id, value: await all[call](...args) })
  })
  process.send({ address })
}

async function beClient() {
  const waiting = new Map()
  process.on('message', ({ id, value }) => {
    waiting.get(id)(value)
    waiting.delete(id)
  })
  let lastId = 0
  const remote = (call, ...args) =>
    new Promise((resolve) => {
      waiting.set(++lastId, resolve)
      process.send({ id: lastId, call, args })
    })
  const bothEnds = async (options) => {
    const server = await remote('probe', { ...options, pids: kit.peer.pids?.(task.context) })
    return { server, client: await probe(options) }
  }
  process.send({ values: await metric.client({ ...kit, remote, bothEnds }) })
}

function describe(error) {
  const code = error?.code ? ` (${error.code})` : ''
  return `${task.role}: ${error?.message ?? error}${code}`
}
