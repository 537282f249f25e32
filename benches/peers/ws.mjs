// Raw WebSocket messages in the clear, as npm ws sends them.
import { once } from 'node:events'
import { WebSocket, WebSocketServer } from 'ws'

const HIGH_WATER = 1 << 20

export async function publisher() {
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0, perMessageDeflate: false })
  await once(server, 'listening')
  let socket
  const ready = once(server, 'connection').then(([connected]) => {
    socket = connected
  })
  return {
    address: { port: server.address().port },
    ready,
    publish: (payload) => socket.send(JSON.stringify(payload)),
    async flush() {
      if (socket.bufferedAmount > HIGH_WATER) await once(socket._socket, 'drain')
    },
  }
}

export async function subscribe(_context, { port }, onPayload) {
  const socket = new WebSocket(`ws://127.0.0.1:${port}`, { perMessageDeflate: false })
  socket.on('message', (data) => onPayload(JSON.parse(data.toString())))
  await once(socket, 'open')
}
