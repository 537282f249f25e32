import { connect, createAlknetEventTarget } from '@alkdev/alknet'
import { createPubSub } from '@graphql-yoga/subscription'

const [connectionString] = process.argv.slice(2)
const stream = await connect(connectionString, { identity: 'client_key' })
const pubSub = createPubSub({ eventTarget: createAlknetEventTarget({ stream }) })

for await (const news of pubSub.subscribe('news')) console.log(news)
