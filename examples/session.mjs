// Many streams on one session, which comes back by itself when it is lost.
import { text } from 'node:stream/consumers'
import { openSession } from '@alkdev/alknet'

const [connectionString] = process.argv.slice(2)
const session = await openSession(connectionString, { identity: 'client_key' })
session.on('down', (error) => console.error(`lost: ${error.message}`)) // its streams fail
session.on('up', () => console.error('back again')) // open() has waited for this

const answers = ['one', 'two', 'three'].map(async (word) => {
  const stream = await session.open()
  stream.end(word)
  return text(stream)
})
console.log(await Promise.all(answers))

const { opened, bytesReceived } = session.metrics()
console.log(`${opened} streams, ${bytesReceived} bytes`)
await session.close()
