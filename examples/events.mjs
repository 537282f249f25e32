import { connect, createAlknetEventTarget, serve } from '@alkdev/alknet'

const server = await serve({ listen: '127.0.0.1:0', authorizedKeys: 'authorized_keys' })

server.onConnection((stream) => {
  const events = createAlknetEventTarget({ stream })
  events.addEventListener('question', ({ detail }) => {
    events.dispatchEvent(new CustomEvent('answer', { detail: { length: detail.text.length } }))
  })
})

const stream = await connect(server.connectionString, { identity: 'client_key' })
const events = createAlknetEventTarget({ stream })

const answer = new Promise((resolve) => {
  events.addEventListener('answer', ({ detail }) => resolve(detail), { once: true })
})
await events.ready('answer') // the server knows that we listen
events.dispatchEvent(new CustomEvent('question', { detail: { text: 'how long is this?' } }))

console.log(await answer) // { length: 17 }
await events.close()
await server.close()
