// Ports of the far side on this machine, as `ssh -L` and `ssh -D` give them.
import { openSession } from '@alkdev/alknet'

const [connectionString, target] = process.argv.slice(2)
const session = await openSession(connectionString, { identity: 'client_key' })

const forward = await session.forward({ listen: '127.0.0.1:0', target }) // 0: a free port
const proxy = await session.socks5({ listen: '127.0.0.1:0' }) // SOCKS5 and HTTP CONNECT
process.once('SIGINT', () => session.close()) // and with it its forwards
console.log(`${forward.addresses[0]} ${proxy.addresses[0]}`)
