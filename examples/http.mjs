// HTTP over a stream: the web server listens nowhere, and nobody reaches it who may not log in.
import { once } from 'node:events'
import http from 'node:http'
import { connect, serve } from '@alkdev/alknet'

const web = http.createServer((request, response) => {
  response.end(`you asked for ${request.url}`)
})
const server = await serve({ listen: '127.0.0.1:0', authorizedKeys: 'authorized_keys' })
server.onConnection((stream) => web.emit('connection', stream))

const stream = await connect(server.connectionString, { identity: 'client_key' })
const request = http.get({ path: '/news', createConnection: () => stream })
const [response] = await once(request, 'response')
for await (const chunk of response) console.log(`${response.statusCode}: ${chunk}`)

await server.close()
