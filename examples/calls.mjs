// Calls over events, both ways on one stream: a request and its answer are envelopes, the answer's id is the request's. Each call
// has a time limit, and whoever called may abort it.
import { connect, createAlknetEventTarget, serve } from '@alkdev/alknet'

/** Answers calls on `stream` with `operations`, and gives what calls the other end's. */
function calls(stream, operations) {
  const events = createAlknetEventTarget({ stream, detail: 'envelope' })
  const send = (type, id, payload) =>
    events.dispatchEvent(
      new CustomEvent(id ? `${type}:${id}` : type, { detail: { type, id, payload } }),
    )
  const running = new Map()

  events.addEventListener('call.requested', async ({ detail: { payload } }) => {
    const { requestId, operationId, input } = payload
    const aborting = new AbortController()
    running.set(requestId, aborting)
    try {
      if (!Object.hasOwn(operations, operationId)) throw new Error(`no operation ${operationId}`)
      const output = await operations[operationId](input, aborting.signal)
      send('call.responded', requestId, { requestId, output })
    } catch (error) {
      send('call.error', requestId, { requestId, code: error.name, message: error.message })
    } finally {
      running.delete(requestId)
    }
  })
  events.addEventListener('call.aborted', ({ detail }) =>
    running.get(detail.payload.requestId)?.abort(),
  )

  const call = async (operationId, input, { timeout = 5000, signal } = {}) => {
    const requestId = crypto.randomUUID()
    const limit = AbortSignal.any([AbortSignal.timeout(timeout), ...(signal ? [signal] : [])])
    const done = new AbortController() // takes the listeners away
    try {
      return await new Promise((resolve, reject) => {
        const hear = (type, take) =>
          events.addEventListener(
            `${type}:${requestId}`,
            ({ detail }) => take(detail.payload),
            done,
          )
        hear('call.responded', ({ output }) => resolve(output))
        hear('call.error', ({ code, message }) => reject(new Error(`${code}: ${message}`)))
        limit.addEventListener('abort', () => {
          send('call.aborted', '', { requestId })
          reject(limit.reason)
        })
        // A stream keeps the order of what is sent at once: the other end knows what we hear before it has the request.
        send('call.requested', '', { requestId, operationId, input })
      })
    } finally {
      done.abort()
    }
  }
  return { call, events }
}

const server = await serve({ listen: '127.0.0.1:0', authorizedKeys: 'authorized_keys' })
server.onConnection((stream) => {
  const { call } = calls(stream, {
    add: ({ a, b }) => a + b,
    greet: async () => `hello ${await call('name')}`, // calls back
    wait: (_input, signal) =>
      new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
  })
})

const stream = await connect(server.connectionString, { identity: 'client_key' })
const { call, events } = calls(stream, { name: () => 'client' })
console.log(await call('add', { a: 2, b: 3 })) // 5
console.log(await call('greet')) // hello client
console.log(await call('divide').catch((error) => error.message)) // Error: no operation divide
console.log(await call('wait', null, { timeout: 50 }).catch((error) => error.name)) // TimeoutError
await events.close()
await server.close()
