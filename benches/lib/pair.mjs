// Runs one measurement: a server process, a client process, and the calls between them. Both are gone afterwards.
import { fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const worker = fileURLToPath(new URL('worker.mjs', import.meta.url))
const LIMIT = 120_000

/** Resolves to the values of `metric` for `peer`; rejects when either process fails or the time is up. */
export async function measure(task) {
  const children = []
  let timer
  try {
    return await new Promise((resolve, reject) => {
      timer = setTimeout(() => reject(new Error(`no result within ${LIMIT / 1000} s`)), LIMIT)
      const start = (role, more) => {
        const child = startWorker({ ...task, ...more, role }, reject)
        children.push(child)
        return child
      }
      connectPair(start, resolve)
    })
  } finally {
    clearTimeout(timer)
    await Promise.all(children.map(stop))
  }
}

function connectPair(start, resolve) {
  const server = start('server')
  let client
  server.on('message', ({ address, id, value }) => {
    if (id !== undefined) client.send({ id, value })
    if (address !== undefined) {
      client = start('client', { address })
      client.on('message', ({ values, id: call, ...rest }) => {
        if (values) resolve(values)
        else if (call !== undefined) server.send({ id: call, ...rest })
      })
    }
  })
}

function startWorker(task, reject) {
  const env = { ...process.env, ALKNET_BENCH: JSON.stringify(task), NODE_ENV: 'production' }
  const child = fork(worker, [], { env, execArgv: ['--expose-gc', ...task.flags] })
  child.on('message', ({ failed }) => failed && reject(new Error(failed)))
  child.on('error', reject)
  child.on('exit', (code, signal) =>
    reject(new Error(`${task.role}: process ended early (${signal ?? code})`)),
  )
  return child
}

async function stop(child) {
  if (child.exitCode !== null || child.signalCode !== null) return
  const gone = new Promise((resolve) => child.once('exit', resolve))
  child.kill('SIGKILL')
  await gone
}
