// One program that misuses its streams, over alknet or, for comparison, over node:net. It ends as it ends.
//
//   node misuse.mjs '{"over": "alknet", "act": "exit", "count": 100, ...}'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import net from 'node:net'
import { fileURLToPath } from 'node:url'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { openSession } from '../../../index.js'

const self = fileURLToPath(import.meta.url)
const task = isMainThread ? JSON.parse(process.argv[2]) : workerData
const block = Buffer.alloc(64 * 1024)

const openers = {
  async alknet({ ready, count }) {
    const session = await openSession(ready)
    return await Promise.all(Array.from({ length: count }, () => session.open()))
  },
  async net({ port, count }) {
    const sockets = Array.from({ length: count }, () => net.connect(port, '127.0.0.1'))
    await Promise.all(sockets.map((socket) => once(socket, 'connect')))
    return sockets
  },
}

/** Opens the streams and resolves once all of them carry data both ways, as fast as they can. */
async function flowing() {
  const streams = await openers[task.over](task)
  const moving = streams.map((stream) => {
    const pump = () => {
      while (stream.write(block)) if (stream.destroyed) return
    }
    stream.on('drain', pump)
    const first = once(stream, 'data')
    pump()
    return first
  })
  await Promise.all(moving)
  return streams
}

const acts = {
  async exit() {
    await flowing()
    process.exit(7)
  },
  async 'exit while connecting'() {
    openers[task.over](task).catch(() => {})
    setTimeout(() => process.exit(7), task.delay)
  },
  async 'throw in a callback'() {
    const [stream] = await flowing()
    stream.on('data', () => {
      throw new Error('thrown in a callback')
    })
  },
  async 'reject unhandled'() {
    await flowing()
    Promise.reject(new Error('nobody handles this'))
  },
  async signal() {
    await flowing()
    process.kill(process.pid, task.signal)
  },
  async 'handled signal'() {
    const streams = await flowing()
    process.once(task.signal, () => {
      for (const stream of streams) stream.destroy()
      process.exitCode = 9
      if (task.over === 'alknet') process.exit()
    })
    process.kill(process.pid, task.signal)
  },
  /** A child of a process with streams, which uses streams itself. */
  async fork() {
    const streams = await flowing()
    const child = fork(self, [JSON.stringify({ ...task, act: 'exit', count: 2 })])
    const [code] = await once(child, 'exit')
    for (const stream of streams) stream.destroy()
    process.exit(code === 7 ? 0 : 99)
  },
  async workers() {
    const workers = Array.from({ length: task.workers }, () => {
      const settings = { ...task, act: 'flow in a worker' }
      return new Worker(self, { workerData: settings })
    })
    await Promise.all(
      workers.map(async (worker) => {
        await once(worker, 'message')
        await worker.terminate()
      }),
    )
    process.exit(0)
  },
  async 'flow in a worker'() {
    await flowing()
    parentPort.postMessage('flowing')
  },
  async 'workers that end as they like'() {
    const ends = ['flow and exit', 'flow and throw', 'flow and destroy']
    await Promise.all(
      ends.map(async (act) => {
        const worker = new Worker(self, { workerData: { ...task, act } })
        worker.on('error', () => {})
        await new Promise((resolve) => worker.on('exit', resolve))
      }),
    )
    process.exit(0)
  },
  async 'flow and exit'() {
    await flowing()
    process.exit(3)
  },
  async 'flow and throw'() {
    const [stream] = await flowing()
    stream.on('data', () => {
      throw new Error('thrown in a worker')
    })
  },
  async 'flow and destroy'() {
    for (const stream of await flowing()) stream.destroy()
    process.exit()
  },
}

await acts[task.act]()
