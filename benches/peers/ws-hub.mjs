// Raw WebSocket messages in the clear, through a hub in a Node process of its own.
import { once } from 'node:events'
import { WebSocket } from 'ws'

const HIGH_WATER = 1 << 20

export const pids = ({ wsHub }) => [wsHub.pid]

const dial = ({ wsHub }, path) =>
  new WebSocket(`ws://127.0.0.1:${wsHub.port}${path}`, { perMessageDeflate: false })

export async function publisher(context) {
  const socket = dial(context, '/publish')
  await once(socket, 'open')
  return {
    address: {},
    publish: (payload) => socket.send(JSON.stringify(payload)),
    async flush() {
      if (socket.bufferedAmount > HIGH_WATER) await once(socket._socket, 'drain')
    },
  }
}

export async function subscribe(context, _address, onPayload) {
  const socket = dial(context, '/subscribe')
  await once(socket, 'message')
  socket.on('message', (data) => onPayload(JSON.parse(data.toString())))
}
