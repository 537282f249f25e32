// A GraphQL server whose subscriptions come over a bus: one of several such processes.
import { createServer } from 'node:http'
import { createPubSub, createSchema, createYoga } from 'graphql-yoga'
import { createAlknetEventTarget, openSession } from '../../../index.js'

const [connectionString, identity] = process.argv.slice(2)
const session = await openSession(connectionString, { identity })
const eventTarget = createAlknetEventTarget({ session })
const pubSub = createPubSub({ eventTarget })
const schema = createSchema({
  typeDefs: `
    type Query { ready(room: ID!): Boolean! }
    type Mutation { say(room: ID!, text: String!): Boolean! }
    type Subscription { said(room: ID!): String! }
  `,
  resolvers: {
    Query: { ready: (_, { room }) => eventTarget.ready(`said:${room}`) },
    Mutation: {
      say(_, { room, text }) {
        pubSub.publish('said', room, text)
        return true
      },
    },
    Subscription: {
      said: { subscribe: (_, { room }) => pubSub.subscribe('said', room), resolve: (text) => text },
    },
  },
})
const server = createServer(createYoga({ schema, logging: false, graphiql: false }))
server.listen(0, '127.0.0.1', () => {
  process.stdout.write(`${JSON.stringify({ port: server.address().port })}\n`)
})
