import { once } from 'node:events'
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { target, withForwarder } from '../lib/forwards.mjs'

export const title = 'Forward: after a bulk transfer is given up'
export const about =
  'A bulk connection through the forward is closed in flight; until one byte on another connection has come back, the longest of some.'
export const units = { forward_stall_ms: 'ms' }
export const settings = { full: { times: 10, bulkMs: 200 }, quick: { times: 4, bulkMs: 100 } }
export const kind = 'forwards'
export const server = target

async function open(port, word) {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true })
  socket.on('error', () => {})
  socket.write(word)
  await once(socket, 'data')
  return socket
}

export const client = (kit) =>
  withForwarder(kit, async ({ port }) => {
    const { times, bulkMs } = kit.settings
    // What the target answers to any first byte but those of other kinds: an echo.
    const echo = await open(port, 'E')
    const took = []
    for (let time = 0; time < times; time += 1) {
      const bulk = await open(port, 'D')
      // Not read any more: everything on the way is full.
      bulk.pause()
      await sleep(bulkMs)
      bulk.destroy()
      const from = performance.now()
      echo.write('x')
      await once(echo, 'data')
      took.push(performance.now() - from)
    }
    echo.destroy()
    return { forward_stall_ms: Math.max(...took) }
  })
