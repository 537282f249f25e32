// A port of a container, by its task's number, through the host of a tunnel.
import { text } from 'node:stream/consumers'
import { openTunnel } from '@alkdev/alknet'

const [host, task, port] = process.argv.slice(2)
const tunnel = await openTunnel({ host, task })
process.once('SIGINT', () => tunnel.close()) // and with it its forwards
tunnel.on('down', (error) => console.error(`lost: ${error.message}`)) // open() waits for the next session

const stream = await tunnel.open(Number(port)) // a Duplex, as of connect()
stream.end('a question')
console.log(await text(stream))

const forward = await tunnel.forward({ port: Number(port) }) // for others: a port here
console.log(forward.addresses[0])
