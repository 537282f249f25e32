import { connect } from '@alkdev/alknet'

const [connectionString] = process.argv.slice(2)
const stream = await connect(connectionString, { identity: 'client_key' })

stream.end('hello from here\n') // ends our side only: the server still answers
for await (const chunk of stream) process.stdout.write(chunk)
