// fetch() over the streams of one session, by undici (`npm install undici`), which opens and keeps them as it needs.
import http from 'node:http'
import { openSession, serve } from '@alkdev/alknet'
import { Agent, fetch } from 'undici'

const web = http.createServer((request, response) => {
  response.end(`you asked for ${request.url}`)
})
const server = await serve({ listen: '127.0.0.1:0', authorizedKeys: 'authorized_keys' })
server.onConnection((stream) => web.emit('connection', stream))

const session = await openSession(server.connectionString, { identity: 'client_key' })
const dispatcher = new Agent({
  // The name in the URL goes into the Host header alone.
  connect: (_options, callback) =>
    void session.open().then((stream) => callback(null, stream), callback),
})

const paths = ['/one', '/two', '/three']
const answers = await Promise.all(
  paths.map(async (path) => (await fetch(`http://alknet${path}`, { dispatcher })).text()),
)
console.log(answers.join('\n'))

await dispatcher.close()
await session.close()
await server.close()
