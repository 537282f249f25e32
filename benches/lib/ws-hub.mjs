// A hub of WebSockets: what one socket sends goes to all that came to /subscribe. A process of its own; prints its port.
import { WebSocketServer } from 'ws'

const subscribers = new Set()
const server = new WebSocketServer({ host: '127.0.0.1', port: 0, perMessageDeflate: false })
server.on('connection', (socket, { url }) => {
  if (url === '/subscribe') {
    subscribers.add(socket)
    socket.on('close', () => subscribers.delete(socket))
    socket.send('subscribed')
  } else {
    socket.on('message', (data) => {
      for (const subscriber of subscribers) subscriber.send(data, { binary: false })
    })
  }
})
server.on('listening', () => process.stdout.write(`${server.address().port}\n`))
