/** A graphql-yoga pub/sub on the first stream of a server for the keys in argument 1: doubles numbers, counts up, ends with the stream. */
import { createPubSub } from '@graphql-yoga/subscription'
import { createAlknetEventTarget, serve } from '../../../index.js'

const server = await serve({ listen: '127.0.0.1:0', authorizedKeys: process.argv[2] })
server.onConnection(async (stream) => {
  const eventTarget = createAlknetEventTarget({ stream })
  const pubSub = createPubSub({ eventTarget })
  eventTarget.closed.then(() => server.close())
  const commands = pubSub.subscribe('count')
  const next = commands.next()
  double(pubSub)
  for (let command = await next; !command.done; command = await commands.next()) {
    for (let number = 0; number < command.value; number += 1) {
      pubSub.publish('counted', number)
      if (eventTarget.bufferedAmount > 1_000_000) await eventTarget.drained()
    }
  }
})
console.log(JSON.stringify({ server: server.addresses[0], hostKeys: server.hostKeyFingerprint }))

async function double(pubSub) {
  for await (const { id, number } of pubSub.subscribe('double')) {
    pubSub.publish('doubled', id, { number: 2 * number })
  }
}
