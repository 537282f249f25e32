/**
 * Connects as argument 1 (JSON of connect options) says and then does what argument 2 names. The process must end by
 * itself exactly when Node's sockets would let it.
 */
import { connect, openSession } from '../../../index.js'

const options = JSON.parse(process.argv[2])

async function forwards() {
  const session = await openSession(options)
  const where = { listen: 0, target: 'localhost:9' }
  const starting = [
    session.forward(where),
    session.remoteForward(where),
    session.socks5({ listen: 0 }),
  ]
  return { session, all: await Promise.all(starting) }
}

const actions = {
  async 'stream-destroyed'() {
    const stream = await connect(options)
    stream.destroy()
  },
  async 'stream-unref'() {
    const stream = await connect(options)
    stream.on('data', () => {}).unref()
  },
  async 'stream-held'() {
    const stream = await connect({ ...options, allowHalfOpen: false })
    stream.pipe(stream)
  },
  async 'stream-unref-ref'() {
    const stream = await connect({ ...options, allowHalfOpen: false })
    stream.unref().unref().ref().pipe(stream)
  },
  async 'session-unref'() {
    const session = await openSession(options)
    session.unref()
  },
  async 'session-closed'() {
    const session = await openSession(options)
    const stream = await session.open()
    stream.on('error', () => {})
    await session.close()
  },
  async 'session-held'() {
    const session = await openSession({ ...options, reconnect: false })
    session.on('close', () => console.log('close'))
    console.log('open')
  },
  async 'forwards-closed'() {
    const { session, all } = await forwards()
    session.unref()
    await Promise.all(all.map((forward) => forward.close()))
  },
  async 'forwards-unref'() {
    const { session, all } = await forwards()
    session.unref()
    for (const forward of all) forward.unref()
  },
  async 'forward-held'() {
    const session = await openSession({ ...options, reconnect: false })
    await session.unref().forward({ listen: 0, target: 'localhost:9' })
    session.on('close', () => console.log('close'))
    console.log('open')
  },
  async 'connect-failed'() {
    await connect({ ...options, hostKeys: `SHA256:${'A'.repeat(43)}` }).catch(() => {})
    await connect({ ...options, signal: AbortSignal.abort() }).catch(() => {})
  },
  async 'exit-with-streams'() {
    const session = await openSession(options)
    const streams = await Promise.all(Array.from({ length: 100 }, () => session.open()))
    let flowing = 0
    for (const stream of streams) {
      stream.once('data', () => {
        flowing += 1
        if (flowing === streams.length) process.exit(7)
      })
      const pump = () => {
        while (stream.write(Buffer.alloc(65_536)));
      }
      stream.on('drain', pump)
      pump()
    }
  },
  async 'throw-in-listener'() {
    const stream = await connect(options)
    stream.on('data', () => {
      throw new Error('thrown in a listener')
    })
  },
}

await actions[process.argv[3]]()
