/** Connects and closes 200 times against a server of its own; prints how many descriptors were open before and after. */
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { setImmediate as turn } from 'node:timers/promises'
import { connect, serve } from '../../../index.js'

const [identity, authorizedKeys] = process.argv.slice(2)
const server = await serve({ listen: '127.0.0.1:0', authorizedKeys })
const open = new Set()
server.onConnection((stream) => {
  open.add(stream)
  stream.on('error', () => {}).on('close', () => open.delete(stream))
  stream.resume().on('end', () => stream.end('bye'))
})

async function cycle(number) {
  const options = { server: server.addresses[0], hostKeys: server.hostKeyFingerprint, identity }
  const stream = await connect(options)
  stream.resume()
  if (number % 4 === 0) stream.destroy()
  else stream.end('hello')
  await once(stream, 'close')
}

const descriptors = () => readdirSync('/proc/self/fd').length

const before = descriptors()
for (let i = 0; i < 200; i += 1) await cycle(i)
// The last sessions wind down beside this thread: give them turns, not time.
for (let turns = 0; open.size > 0 || (descriptors() > before && turns < 100_000); turns += 1) {
  await turn()
}
console.log(JSON.stringify({ before, after: descriptors() }))
await server.close()
