// What any runtime, test runner and bundler must manage: bytes both ways, events both ways, a refusal, a clean end. CommonJS, so
// that both kinds of module can have it. The folder has the key files of the README.
const assert = require('node:assert/strict')
const { randomBytes } = require('node:crypto')

module.exports = async function suite(alknet, folder) {
  const { AlknetError, connect, createAlknetEventTarget, serve } = alknet
  const server = await serve({
    listen: '127.0.0.1:0',
    hostKey: `${folder}/host_key`,
    authorizedKeys: `${folder}/authorized_keys`,
  })
  const accepted = []
  const echo = (stream) => stream.pipe(stream)
  const answer = (stream) => {
    const events = createAlknetEventTarget({ stream })
    events.addEventListener('question', ({ detail }) => {
      events.dispatchEvent(new CustomEvent('answer', { detail: { length: detail.text.length } }))
    })
  }
  server.onConnection((stream, info) => {
    accepted.push(info.user)
    if (accepted.length === 1) echo(stream)
    else answer(stream)
  })
  const options = { identity: `${folder}/client_key` }

  const stream = await connect(server.connectionString, options)
  const sent = randomBytes(1 << 20)
  stream.end(sent)
  const received = []
  for await (const chunk of stream) received.push(chunk)
  assert.ok(Buffer.concat(received).equals(sent), 'the echo is not what was sent')
  assert.equal(stream.remoteAddress, '127.0.0.1')

  const events = createAlknetEventTarget({
    stream: await connect(server.connectionString, options),
  })
  const told = new Promise((resolve) => {
    events.addEventListener('answer', ({ detail }) => resolve(detail), { once: true })
  })
  assert.equal(await events.ready('answer'), true)
  events.dispatchEvent(new CustomEvent('question', { detail: { text: 'how long?' } }))
  assert.deepEqual({ ...(await told) }, { length: 9 })
  await events.close()

  const nobody = connect({ ...options, server: server.addresses[0] })
  const refusal = await nobody.catch((error) => error)
  assert.ok(refusal instanceof AlknetError, 'the refusal is no AlknetError')
  assert.equal(refusal.code, 'ERR_ALKNET_HOST_KEY_UNKNOWN')
  assert.deepEqual(accepted, ['alknet', 'alknet'])
  await server.close()
}
