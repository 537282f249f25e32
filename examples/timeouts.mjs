// Three limits: on connecting, on silence, and on everything together.
import { addAbortSignal } from 'node:stream'
import { connect } from '@alkdev/alknet'

const [connectionString, silence = '30000'] = process.argv.slice(2)
const signal = AbortSignal.timeout(60_000) // or a controller's, to stop by hand

try {
  const stream = await connect(connectionString, {
    identity: 'client_key',
    connectTimeout: 5_000, // else ETIMEDOUT or ERR_ALKNET_HANDSHAKE_TIMEOUT
    signal, // else AbortError; it ends the attempt, not the stream
  })
  addAbortSignal(signal, stream) // now it ends the stream too
  stream.setTimeout(Number(silence), () => stream.destroy(new Error('it has gone silent')))
  stream.write('are you there?\n')
  for await (const chunk of stream) process.stdout.write(chunk)
} catch (error) {
  console.log(error.code ?? error.message)
}
