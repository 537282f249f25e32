// Not a bus of alknet's but a hub of one's own, of WebSockets: an ordinary program behind a server that neither its members nor
// the hub can be reached at otherwise. The same with the command line:
//   at the hub      alknet connect server --remote-forward 9736:127.0.0.1:9736
//   at each member  alknet connect server --forward 9736:127.0.0.1:9736
import { once } from 'node:events'
import { openSession, serve } from '@alkdev/alknet'
import { WebSocket, WebSocketServer } from 'ws'

const authorizedKeys = 'authorized_keys'
const server = await serve({ listen: '127.0.0.1:0', authorizedKeys, forwarding: { remote: true } })
const reach = () => openSession(server.connectionString, { identity: 'client_key' })

// The hub: what one member sends, the others get, and a text becomes binary on no way.
const hub = new WebSocketServer({ host: '127.0.0.1', port: 0, maxPayload: 1 << 20 })
hub.on('connection', (socket) => {
  socket.on('message', (data, binary) => {
    for (const other of hub.clients) if (other !== socket) other.send(data, { binary })
  })
})
await once(hub, 'listening')
const atHub = await reach()
const target = `127.0.0.1:${hub.address().port}`
const { port } = await atHub.remoteForward({ listen: '127.0.0.1:0', target })

// Two members, each on a session of its own.
const atMember = [await reach(), await reach()]
const [one, two] = await Promise.all(
  atMember.map(async (session) => {
    const forward = await session.forward({ listen: 0, target: `127.0.0.1:${port}` })
    const socket = new WebSocket(`ws://127.0.0.1:${forward.port}`)
    await once(socket, 'open')
    return socket
  }),
)
const heard = once(two, 'message')
one.send(JSON.stringify({ type: 'news', id: '', payload: 'through two forwards' }))
const [text] = await heard
console.log(JSON.parse(text).payload)
for (const socket of hub.clients) socket.terminate()
hub.close()
await Promise.all([atHub, ...atMember].map((session) => session.close()))
await server.close()
