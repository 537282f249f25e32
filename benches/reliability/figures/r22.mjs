// Programs that misuse their streams: they end as they would over node:net, and never by a crash of the addon.
import { once } from 'node:events'
import net from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { connect, openSession, serve } from '../../../index.js'
import { echo, reach, startServer, unlimited } from '../lib/ends.mjs'

export const title = 'misuse from JavaScript'
export const runs = {
  full: '200 runs of each misuse within a process, 30 of each ending of one and 4 of that with 50 workers; processes that have up to 100 streams at full rate; every ending compared with that of the same program over node:net',
  quick:
    '4 runs of each misuse, 20 of those within a process, 1 of that with 50 workers; every ending compared with that of the same program over node:net',
}
export const limit = { full: 900, quick: 60 }

const misuse = fileURLToPath(new URL('../lib/misuse.mjs', import.meta.url))

// Ways of ending a process: what is done, and with what.
const processes = [
  { what: 'process.exit() with 100 streams', act: 'exit', count: 100 },
  { what: 'process.exit() while connecting', act: 'exit while connecting', count: 3, delays: true },
  { what: 'exception in a callback', act: 'throw in a callback', count: 20 },
  { what: 'unhandled rejection', act: 'reject unhandled', count: 20 },
  { what: 'SIGTERM', act: 'signal', signal: 'SIGTERM', count: 100 },
  { what: 'SIGINT', act: 'signal', signal: 'SIGINT', count: 100 },
  { what: 'SIGTERM with a listener', act: 'handled signal', signal: 'SIGTERM', count: 20 },
  { what: 'fork with 20 streams open', act: 'fork', count: 20 },
  { what: 'workers that exit, throw and destroy', act: 'workers that end as they like', count: 4 },
  { what: '50 workers terminated mid-transfer', act: 'workers', workers: 50, count: 2, times: 4 },
]

export async function script(kit) {
  const server = await kit.start('server')
  const plain = net
    .createServer((socket) => socket.on('error', () => {}).pipe(socket))
    .listen(0, '127.0.0.1')
  await once(plain, 'listening')
  const where = { ready: reach(kit.context, server.ready), port: plain.address().port }
  for (const { what, times = 30, ...task } of processes) {
    await endings(kit, what, kit.pick(times, Math.ceil(times / 8)), { ...task, ...where })
  }
  plain.close()
  const user = await kit.start('user', server.ready)
  for (const what of Object.keys(misuses)) {
    const times = kit.pick(200, 20)
    const wrong = await user.call('misuse', what, times)
    kit.figure({
      name: what,
      what: `${what}, ${times} runs: other outcomes than the right one`,
      value: wrong.length,
      most: 0,
      ...seen(wrong),
    })
  }
  await user.call('tidy')
  const left = await user.call('left')
  kit.figure({
    name: 'left',
    what: 'handles that keep the process of all these alive',
    value: left.length,
    most: 0,
    ...seen(left),
  })
}

const seen = (list) => (list.length > 0 ? { seen: [...new Set(list)].slice(0, 5) } : {})

async function endings(kit, what, times, task) {
  const run = (over, turn) => {
    const settings = { ...task, over, delay: task.delays ? turn % 60 : 0 }
    return kit.program(process.execPath, [misuse, JSON.stringify(settings)], { seconds: 60 })
  }
  const expected = ending(await run('net', 0))
  const found = []
  let turn = 0
  const worker = async () => {
    while (turn < times) found.push(await run('alknet', turn++))
  }
  await Promise.all([worker(), worker()])
  const wrong = found.filter((one) => ending(one) !== expected)
  const crashes = found.filter(isCrash)
  const details = seen(wrong.map((one) => `${ending(one)} ${one.stderr.slice(-300)}`))
  kit.figure({
    name: `${task.act} crashes`,
    what: `${what}, ${times} runs: native crashes`,
    value: crashes.length,
    most: 0,
  })
  kit.figure({
    name: task.act,
    what: `${what}: other endings than over node:net (${expected})`,
    value: wrong.length,
    most: 0,
    ...details,
  })
}

const ending = ({ code, signal }) => signal ?? `exit code ${code}`

const isCrash = ({ code, signal }) =>
  ['SIGSEGV', 'SIGABRT', 'SIGBUS', 'SIGILL', 'SIGFPE', 'SIGTRAP'].includes(signal) || code >= 128

/** Each resolves to what came of it when that is wrong. */
const misuses = {
  async 'write after end'({ open }) {
    const stream = await open()
    const codes = []
    stream.on('error', ({ code }) => codes.push(code))
    stream.end('x')
    const told = new Promise((resolve) => stream.write('y', (error) => resolve(error?.code)))
    const closed = new Promise((resolve) => stream.once('close', resolve))
    const code = await told
    stream.destroy()
    await closed
    return code === 'ERR_STREAM_WRITE_AFTER_END' && codes[0] === code
      ? undefined
      : `${code} ${codes}`
  },
  async 'end twice'({ open }) {
    const stream = await open()
    let failed
    stream.on('error', (error) => {
      failed = error
    })
    stream.resume().end('x')
    stream.end()
    const second = new Promise((resolve) => stream.end((error) => resolve(error?.code)))
    await once(stream, 'close')
    const code = await second
    return failed || (code && code !== 'ERR_STREAM_ALREADY_FINISHED')
      ? `${failed} ${code}`
      : undefined
  },
  async 'destroy while data comes and goes, twice'({ open }) {
    const stream = await open()
    stream.on('error', () => {}).write(Buffer.alloc(500_000))
    await once(stream, 'data')
    stream.destroy()
    stream.destroy(new Error('again'))
    stream.write('x')
    stream.end()
    stream.read()
    if (!stream.closed) await once(stream, 'close')
    return undefined
  },
  async 'abort at 12 moments of connect()'({ options, turn }) {
    const abort = new AbortController()
    const phase = turn % 12
    const attempt = connect({ ...options, signal: abort.signal })
    if (phase === 0) abort.abort()
    else if (phase === 1) queueMicrotask(() => abort.abort())
    else if (phase === 2) setImmediate(() => abort.abort())
    else void after((phase - 2) * 0.4).then(() => abort.abort())
    try {
      const stream = await attempt
      stream.on('error', () => {}).destroy()
      return phase < 3 ? 'connected although aborted at once' : undefined
    } catch (error) {
      return error.name === 'AbortError' && error.code === 'ABORT_ERR' ? undefined : String(error)
    }
  },
  async 'session closed while streams open'({ options }) {
    const session = await openSession(options)
    const opens = Array.from({ length: 20 }, () =>
      session.open().then(forget, (error) => error.code),
    )
    await sleep(0)
    await session.close()
    const codes = await Promise.all(opens)
    const wrong = codes.find((code) => code !== undefined && code !== 'ERR_ALKNET_SESSION_CLOSED')
    return wrong && `open() failed with ${wrong}`
  },
  async 'server closed under its clients'({ context }) {
    const server = await serve(serveOptions(context))
    server.onConnection((stream) => stream.on('error', () => {}).pipe(stream))
    const ready = { server: server.addresses[0], hostKeys: server.hostKeyFingerprint }
    const attempts = Array.from({ length: 5 }, () =>
      connect(reach(context, ready)).then(forget, (error) => error.code),
    )
    await sleep(Math.random() * 8)
    await server.close()
    const codes = await Promise.all(attempts)
    return codes.some((code) => code !== undefined && typeof code !== 'string')
      ? `${codes}`
      : undefined
  },
  async 'garbage collection of what nobody holds'({ options }) {
    const gone = await abandoned(options)
    for (let turn = 0; turn < 200 && gone.deref() !== undefined; turn++) {
      await sleep(5)
      globalThis.gc()
    }
    return gone.deref() === undefined ? undefined : 'a closed session was not collected'
  },
}

async function abandoned(options) {
  const session = await openSession(options)
  await Promise.all(
    Array.from({ length: 5 }, () =>
      session.open().then((stream) => stream.on('error', () => {}).resume()),
    ),
  )
  await session.close()
  return new WeakRef(session)
}

const serveOptions = ({ hostKey, clientPublicKey }) => ({
  listen: '127.0.0.1:0',
  hostKey,
  authorizedKeys: clientPublicKey,
  limits: unlimited,
})

const forget = (stream) => void stream.on('error', () => {}).resume()

/** Less than what a timer can tell. */
async function after(ms) {
  const until = performance.now() + ms
  while (performance.now() < until) await new Promise(setImmediate)
}

export const ends = {
  async server(_, context) {
    return await startServer(context, echo)
  },

  async user(ready, context) {
    const options = reach(context, ready)
    let session = await openSession(options)
    let before // taken at the first call: what calls come by is there then
    return {
      async misuse(what, times) {
        void [process.stdout, process.stderr] // pipe() looks at them, and handles of them are made at the first look
        before ??= process.getActiveResourcesInfo()
        const wrong = []
        for (let turn = 0; turn < times; turn++) {
          const tools = { options, context, turn, open: () => session.open() }
          const outcome = await misuses[what](tools)
          if (outcome) wrong.push(outcome)
        }
        return wrong
      },
      async tidy() {
        await session.close()
        session = undefined
      },
      async left() {
        let left = []
        for (let turn = 0; turn < 100; turn++) {
          await sleep(20)
          left = process.getActiveResourcesInfo()
          for (const one of before) if (left.includes(one)) left.splice(left.indexOf(one), 1)
          if (left.length === 0) break
        }
        return left
      },
    }
  },
}
