// A network link in user space: a TCP relay with delay, loss, a bandwidth and outages. What it cannot show is TCP's own congestion
// control: a lost segment costs its repetition, with everything behind it waiting, and slows the sender down no further.
import { once } from 'node:events'
import { createServer, connect as tcpConnect } from 'node:net'

/** Bytes in one segment, which is lost or not (Ethernet's 1500 less headers). */
const SEGMENT = 1448
/** Shortest pause before a segment is sent again when even its repetition was lost (Linux: TCP_RTO_MIN, 200 ms). */
const TIMEOUT_MS = 200

/**
 * @typedef {'up' | 'down'} Way `up` leads from whoever connects to the server.
 * @typedef {object} LinkOptions
 * @property {number} [delay] Milliseconds each way.
 * @property {number} [loss] Probability that a segment is lost.
 * @property {number} [bandwidth] Bytes per second each way.
 * @property {number} [buffer] Bytes on their way, each way: more, and the sender has to wait. Default 256 KiB.
 * @property {() => number} [random] From 0 to 1; for `loss`.
 * @property {() => void} [onFull] Called when a sender has to wait.
 */

/**
 * Starts a link to `server` (`host:port`).
 *
 * @param {string} server
 * @param {LinkOptions} [options]
 */
export async function startLink(server, options = {}) {
  const at = server.lastIndexOf(':')
  const far = { host: server.slice(0, at), port: Number(server.slice(at + 1)), allowHalfOpen: true }
  /** @type {Set<Leg>} */
  const legs = new Set()
  const held = { up: false, down: false, moved: 0 }
  const lanes = () => [...legs].flatMap(({ up, down }) => [up, down])
  const listener = createServer({ allowHalfOpen: true }, (near) => {
    const leg = new Leg(near, far, held, options)
    legs.add(leg)
    leg.onGone = () => legs.delete(leg)
  })
  await once(listener.listen(0, '127.0.0.1'), 'listening')
  const { port } = /** @type {import('node:net').AddressInfo} */ (listener.address())

  return {
    server: `127.0.0.1:${port}`,
    /** Bytes that came out of it so far, both ways. */
    get moved() {
      return held.moved
    },
    /** The next socket that comes in from the near side. @returns {Promise<import('node:net').Socket>} */
    next: () => new Promise((resolve) => listener.once('connection', resolve)),
    /** Another delay from now on. @param {number} delay */
    slow(delay) {
      options.delay = delay
    },
    /**
     * From now on nothing gets through, neither bytes nor ends, and nobody is told. What is on its way waits for `thaw`, as TCP would
     * send it again. @param {Way[]} ways
     */
    freeze(...ways) {
      for (const way of ways.length > 0 ? ways : ['up', 'down'])
        held[/** @type {Way} */ (way)] = true
    },
    /** The link is back; nothing was lost. */
    thaw() {
      held.up = false
      held.down = false
      for (const lane of lanes()) lane.move()
    },
    /** Resolves when so much waits that a sender has to. @returns {Promise<void>} */
    async full() {
      if (lanes().some(({ isFull }) => isFull)) return
      await new Promise((resolve) => {
        options.onFull = resolve
      })
    },
    /** Resets every connection. */
    cut() {
      for (const leg of legs) leg.reset()
    },
    async close() {
      const closed = new Promise((resolve) => listener.close(resolve))
      listener.on('connection', (late) => late.destroy())
      // Not by a reset: one that meets a shutdown under way leaves Node's handle open.
      for (const { ends } of legs) for (const end of ends) end.destroy()
      await closed
    },
  }
}

/** One connection through the link. */
class Leg {
  onGone = () => {}

  /**
   * @param {import('node:net').Socket} near
   * @param {import('node:net').TcpNetConnectOpts} far
   * @param {{ up: boolean, down: boolean, moved: number }} held
   * @param {LinkOptions} options
   */
  constructor(near, far, held, options) {
    const outer = tcpConnect(far).setNoDelay(true)
    near.setNoDelay(true)
    const over = () => {
      if (near.destroyed && outer.destroyed) this.onGone()
    }
    this.ends = [near, outer]
    this.up = new Lane(near, outer, held, 'up', options)
    this.down = new Lane(outer, near, held, 'down', options)
    for (const end of this.ends) end.on('close', over)
  }

  reset() {
    for (const end of this.ends) end.resetAndDestroy()
    this.onGone()
  }
}

/** One direction of one connection. */
class Lane {
  /** @type {{ what: Buffer | 'end' | 'reset', at: number }[]} */
  #queue = []
  #queued = 0
  /** When the link has sent what is queued. */
  #free = 0
  /** When the last of it is there. */
  #last = 0
  /** @type {NodeJS.Timeout | undefined} */
  #timer
  #blocked = false
  /** So much waits that the sender has to. */
  isFull = false

  /**
   * @param {import('node:net').Socket} from
   * @param {import('node:net').Socket} to
   * @param {{ up: boolean, down: boolean, moved: number }} held
   * @param {Way} way
   * @param {LinkOptions} options
   */
  constructor(from, to, held, way, options) {
    this.from = from
    this.to = to
    this.held = held
    this.way = way
    this.options = options
    from.on('data', (chunk) => this.#push(chunk))
    from.on('end', () => this.#push('end'))
    from.on('error', () => this.#push('reset'))
    to.on('drain', () => {
      this.#blocked = false
      this.move()
    })
    to.on('close', () => {
      clearTimeout(this.#timer)
      this.#queue = []
    })
  }

  /** @param {Buffer | 'end' | 'reset'} what */
  #push(what) {
    const size = typeof what === 'string' ? 0 : what.length
    const { bandwidth = Number.POSITIVE_INFINITY, delay = 0, buffer = 256 * 1024 } = this.options
    this.#free = Math.max(performance.now(), this.#free) + (size / bandwidth) * 1000
    // In order: whatever follows a lost segment waits for it.
    this.#last = Math.max(this.#last, this.#free + delay + this.#repetitions(size))
    this.#queue.push({ what, at: this.#last })
    this.#queued += size
    if (this.#queued > buffer) {
      this.isFull = true
      this.from.pause()
      this.options.onFull?.()
    }
    this.move()
  }

  /** Milliseconds that lost segments cost: a round trip each, and growing pauses when their repetition is lost as well. */
  #repetitions(size) {
    const { loss = 0, delay = 0, random = Math.random } = this.options
    let cost = 0
    for (let left = loss > 0 ? size : 0; left > 0; left -= SEGMENT) {
      let pause = 2 * delay
      for (let own = 0; random() < loss; own += pause, pause = Math.max(2 * pause, TIMEOUT_MS)) {
        cost = Math.max(cost, own + pause)
      }
    }
    return cost
  }

  /** Delivers what is due. */
  move() {
    const { buffer = 256 * 1024 } = this.options
    clearTimeout(this.#timer)
    while (this.#queue.length > 0 && !this.held[this.way] && !this.#blocked) {
      const [{ what, at }] = this.#queue
      const wait = at - performance.now()
      if (wait > 0) {
        this.#timer = setTimeout(() => this.move(), wait)
        return
      }
      this.#queue.shift()
      if (what === 'end') this.to.end()
      else if (what === 'reset') this.to.resetAndDestroy()
      else {
        this.#queued -= what.length
        this.held.moved += what.length
        this.#blocked = !this.to.write(what)
        if (this.isFull && this.#queued <= buffer / 2) {
          this.isFull = false
          this.from.resume()
        }
      }
    }
  }
}
