// A bus: every client of a server hears what the others publish, and so does the server's program.
import { createAlknetEventTarget, openSession, serve } from '@alkdev/alknet'

const server = await serve({ listen: '127.0.0.1:0', authorizedKeys: 'authorized_keys', bus: true })

const session = await openSession(server.connectionString, { identity: 'client_key' })
const one = createAlknetEventTarget({ session }) // lives on when the session is lost and comes back
const two = createAlknetEventTarget({ session })
const [greetings, answers] = [two.subscribe('greeting'), one.subscribe('answer')]
await Promise.all([two.ready('greeting'), one.ready('answer')])

one.dispatchEvent(new CustomEvent('greeting', { detail: 'hello' }))
const { value } = await greetings.next()
console.log('SHA256 key of the sender:', value.from.startsWith('SHA256:'))

server.bus.dispatchEvent(new CustomEvent('answer', { detail: 'hello from the program' }))
console.log((await answers.next()).value.detail)
await session.close()
await server.close()
