/** Ten workers move data over streams of their own; half are terminated in the middle, half exit by themselves. */
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { openSession } from '../../../index.js'

async function moveData({ options, exits }) {
  const session = await openSession(options)
  const streams = await Promise.all(Array.from({ length: 4 }, () => session.open()))
  let flowing = 0
  for (const stream of streams) {
    const pump = () => {
      while (stream.write(Buffer.alloc(65_536)));
    }
    stream.on('drain', pump)
    stream.once('data', () => {
      flowing += 1
      if (flowing < streams.length) return
      parentPort.postMessage('flowing')
      if (exits) process.exit(3)
    })
    stream.resume()
    pump()
  }
}

async function runWorker(number) {
  const workerData = { options: JSON.parse(process.argv[2]), exits: number % 2 === 0 }
  const worker = new Worker(fileURLToPath(import.meta.url), { workerData })
  const exited = once(worker, 'exit')
  await once(worker, 'message')
  if (!workerData.exits) await worker.terminate()
  const [code] = await exited
  const expected = workerData.exits ? 3 : 1
  if (code !== expected)
    throw new Error(`worker ${number} exited with ${code}, expected ${expected}`)
}

if (isMainThread) {
  for (let round = 0; round < 5; round += 1) await Promise.all([runWorker(0), runWorker(1)])
} else {
  await moveData(workerData)
}
