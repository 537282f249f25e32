// The suite in three worker threads at once; one more is ended in the middle of its work.
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'

const start = () => new Worker(new URL('./import.mjs', import.meta.url))
const cut = start()
const workers = [start(), start(), start()]
const codes = workers.map(async (worker) => {
  const [code] = await once(worker, 'exit')
  if (code !== 0) throw new Error(`a worker ended with ${code}`)
})
await once(cut, 'online')
await cut.terminate()
await Promise.all(codes)
console.log('all is well')
