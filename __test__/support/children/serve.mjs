/** Serves for the keys in argument 1, prints where, and does what argument 2 names; argument 3: more options (JSON). */
import { serve } from '../../../index.js'

const [authorizedKeys, action, more = '{}'] = process.argv.slice(2)
const server = await serve({ listen: '127.0.0.1:0', authorizedKeys, ...JSON.parse(more) })

const actions = {
  /** Sends back whatever comes, until killed. */
  echo() {
    server.onConnection((stream) => stream.on('error', () => {}).pipe(stream))
  },
  /** Sends without end, until killed. */
  source() {
    server.onConnection((stream) => {
      const block = Buffer.alloc(65_536)
      const pump = () => {
        while (stream.write(block));
      }
      stream.on('error', () => {}).on('drain', pump)
      pump()
    })
  },
  /** Echoes on the first stream, never reads the others; answers each line with its resident bytes and how many of those are open. */
  stall() {
    // Referred to: what nobody reads, writes or refers to is collected, and closed by that.
    const unread = []
    server.once('connection', (first) => {
      first.on('error', () => {}).pipe(first)
      server.onConnection((stream) => unread.push(stream.on('error', () => {})))
    })
    process.stdin.on('data', () => {
      globalThis.gc()
      const open = unread.filter(({ destroyed }) => !destroyed).length
      console.log(JSON.stringify({ rss: process.memoryUsage.rss(), open }))
    })
  },
  'close-on-connection'() {
    server.onConnection((stream) => {
      stream.on('error', () => {}).end()
      stream.resume().on('close', () => server.close())
    })
  },
  unref() {
    server.unref()
  },
}

actions[action]()
const { addresses, endpointId: peer, hostKeyFingerprint: hostKeys } = server
const at = peer ? { peer, irohAddress: addresses } : { server: addresses[0] }
console.log(JSON.stringify({ ...at, hostKeys }))
