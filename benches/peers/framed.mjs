// JSON behind a 4-byte length on bare TCP: the least a message between two Node processes can cost.
import { once } from 'node:events'
import net from 'node:net'
import { listenLocally } from '../lib/direct.mjs'
import { encodeFrame, readFrames } from '../lib/frames.mjs'

export async function publisher() {
  const server = net.createServer({ noDelay: true })
  const address = await listenLocally(server)
  let socket
  const ready = once(server, 'connection').then(([connected]) => {
    socket = connected
  })
  return {
    address,
    ready,
    publish: (payload) => socket.write(encodeFrame(JSON.stringify(payload))),
    async flush() {
      if (socket.writableNeedDrain) await once(socket, 'drain')
    },
  }
}

export async function subscribe(_context, { port }, onPayload) {
  const socket = net.connect({ host: '127.0.0.1', port, noDelay: true })
  readFrames(socket, (text) => onPayload(JSON.parse(text)))
  await once(socket, 'connect')
}
