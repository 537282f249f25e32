// What a visitor's clock tells of a port in stealth: how long answers take, beside those of an ordinary web server, and when silence ends.
import { once } from 'node:events'
import tls from 'node:tls'
import { startServer } from '../lib/ends.mjs'
import { startNginx } from '../lib/nginx.mjs'

export const title = 'stealth by the clock'
export const runs = {
  full: '2,000 connections for each of 6 probes, those of a port in stealth and of nginx in turn; 4 visitors who wait',
  quick:
    '200 connections for each of 6 probes, those of a port in stealth and of nginx in turn; 4 visitors who wait',
}
export const limit = { full: 300, quick: 90 }

const get = (target, more = '') => `GET ${target} HTTP/1.1\r\nHost: localhost\r\n${more}\r\n`
const upgrade =
  'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nOrigin: https://elsewhere.example\r\n'

const probes = {
  'a page': [get('/')],
  'the path of the WebSocket': [get('/alknet')],
  'a WebSocket that is refused': [get('/alknet', upgrade)],
  'a form': ['POST /alknet HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n'],
  noise: ['\x16\x03\x01 what is this\r\n\r\n'],
  'a page by a method that begins like SSH': ['S', 'SEARCH / HTTP/1.1\r\nHost: localhost\r\n\r\n'],
}

/** How a visitor may begin and then wait. */
const waits = { nothing: '', SSH: 'SSH', GET: 'GET', 'GET / HTTP/1.1': 'GET / HTTP/1.1\r\n' }

export async function script(kit) {
  const own = await kit.start('server')
  const other = await startNginx(kit.context)
  const ports = { stealth: own.ready.port, nginx: other.port }
  const names = Object.keys(probes)
  const times = Object.fromEntries(names.map((what) => [what, { stealth: [], nginx: [] }]))
  // All of them in turn, so that what the machine does otherwise meets each alike.
  for (let turn = kit.pick(2000, 200); turn > 0; turn--) {
    for (const what of names) {
      for (const [who, port] of Object.entries(ports)) {
        times[what][who].push(await reply(port, probes[what]))
      }
    }
  }
  const taken = Object.fromEntries(names.map((what) => [what, report(kit, what, times[what])]))
  const [any, hidden] = [taken['a page'], taken['the path of the WebSocket']]
  kit.figure({
    name: 'hidden path',
    what: 'the path of the WebSocket against any other: difference of the medians, as a share of the spread from the 10th to the 90th percentile',
    value: Math.abs(hidden.p50 - any.p50) / (any.p90 - any.p10),
    most: 0.25,
  })
  await silence(kit, ports)
  other.stop()
}

function report(kit, what, times) {
  const spread = Object.fromEntries(
    Object.entries(times).map(([who, all]) => [who, percentiles(all)]),
  )
  for (const [who, { p10, p50, p90, p99 }] of Object.entries(spread)) {
    for (const [name, value] of Object.entries({ p10, p50, p90, p99 })) {
      kit.figure({
        name: `${what} ${who} ${name}`,
        what: `${what}: ${who}, ${name}`,
        value,
        unit: 'µs',
      })
    }
  }
  return spread.stealth
}

function percentiles(times) {
  const sorted = [...times].sort((one, other) => one - other)
  const at = (share) => sorted[Math.floor((sorted.length - 1) * share)]
  return { p10: at(0.1), p50: at(0.5), p90: at(0.9), p99: at(0.99) }
}

/** Microseconds from the last of `pieces` to the first byte of an answer, or to the end without one. */
async function reply(port, pieces) {
  const socket = await visitor(port)
  for (const piece of pieces.slice(0, -1)) await new Promise((sent) => socket.write(piece, sent))
  const begun = performance.now()
  socket.write(pieces.at(-1))
  await Promise.race([once(socket, 'data'), once(socket, 'close')])
  const took = (performance.now() - begun) * 1000
  socket.destroy()
  return took
}

async function visitor(port) {
  const socket = tls.connect({ port, host: '127.0.0.1', rejectUnauthorized: false })
  socket.setNoDelay().on('error', () => {})
  await once(socket, 'secureConnect')
  return socket
}

/** Who begins and waits is sent away after the same time, whatever it has begun with, and is told nothing. */
async function silence(kit, { stealth }) {
  const ended = Object.entries(waits).map(async ([what, bytes]) => {
    const socket = await visitor(stealth)
    let heard = 0
    socket.on('data', (chunk) => {
      heard += chunk.length
    })
    const begun = performance.now()
    if (bytes) socket.write(bytes)
    await once(socket.resume(), 'close')
    return { what, took: performance.now() - begun, heard }
  })
  const all = await Promise.all(ended)
  for (const { what, took, heard } of all) {
    kit.figure({
      name: `wait ${what}`,
      what: `sent ${what} and waits: sent away after`,
      value: took,
      unit: 'ms',
    })
    kit.figure({ name: `heard ${what}`, what: `sent ${what} and waits: bytes heard`, value: heard })
  }
  const times = all.map(({ took }) => took)
  kit.figure({
    name: 'silence',
    what: 'visitors who wait: from the first sent away to the last',
    value: Math.max(...times) - Math.min(...times),
    unit: 'ms',
    most: 500,
  })
}

export const ends = {
  async server(_, context) {
    const { certificate: tlsCert, certificateKey: tlsKey } = context
    const transport = ['tls', 'wss']
    const options = { transport, stealth: true, tlsCert, tlsKey, wsHosts: ['tunnel.example.com'] }
    const { server } = await startServer(context, () => {}, options)
    return { ready: { port: Number(server.addresses[0].split(':').at(-1)) } }
  },
}
