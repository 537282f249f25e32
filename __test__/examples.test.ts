import { copyFileSync } from 'node:fs'
import { connect as tcpConnect } from 'node:net'
import { fileURLToPath } from 'node:url'
import { beforeAll, describe, expect, it } from 'vitest'
import { frameStream } from '../index.js'
import { discard, nextConnection, startServer } from './support/alknet.js'
import { say } from './support/bytes.js'
import { chain } from './support/chain.js'
import { clientKey, hostKey, scratch } from './support/keys.js'
import { startEcho } from './support/net.js'
import { type Program, start } from './support/program.js'

const root = fileURLToPath(new URL('..', import.meta.url))

/** Runs an example of the README as its reader would: in a directory with the key files that the README makes. */
function example(name: string, ...args: string[]): Program {
  const script = `${root}examples/${name}.mjs`
  return start('env', ['-C', scratch(), process.execPath, script, ...args])
}

describe('the examples', () => {
  beforeAll(async () => {
    const [host, client] = await Promise.all([hostKey(), clientKey()])
    copyFileSync(host.path, `${scratch()}/host_key`)
    copyFileSync(client.path, `${scratch()}/client_key`)
    copyFileSync(client.publicPath, `${scratch()}/authorized_keys`)
  })

  it('serve and connect: the client hears its echo', async () => {
    const server = example('serve', '127.0.0.1:0')
    const connectionString = await server.line()
    const client = example('connect', connectionString)
    expect(await client.line()).toBe('hello from here')
    expect(await client.exit).toMatchObject({ code: 0, stderr: '' })
    await server.complains(/^alknet with SHA256:\S+ from 127\.0\.0\.1\n$/)
  })

  it('events: the answer comes and the process ends by itself', async () => {
    const program = example('events')
    expect(await program.line()).toBe('{ length: 17 }')
    expect(await program.exit).toMatchObject({ code: 0, stderr: '' })
  })

  it('pubsub: what is published under the topic is iterated', async () => {
    const server = await startServer()
    const subscribed = nextConnection(server).then(async ({ stream }) => {
      const messages = frameStream(stream)
      const { value } = await messages[Symbol.asyncIterator]().next()
      await messages.send(JSON.stringify({ type: 'news', id: '', payload: 'it works' }))
      return JSON.parse(String(value))
    })
    const program = example('pubsub', server.connectionString)
    expect(await subscribed).toEqual({ type: '__subscribe', id: '', payload: { topic: 'news' } })
    expect(await program.line()).toBe('it works')
  })

  it.each([
    ['http', ['200: you asked for /news']],
    ['fetch', ['you asked for /one', 'you asked for /two', 'you asked for /three']],
    ['typed-events', ['tea is on its way']],
    ['calls', ['5', 'hello client', 'Error: no operation divide', 'TimeoutError']],
    ['dialling-hub', ['144 true']],
    ['ws-hub', ['through two forwards']],
    ['bus', ['SHA256 key of the sender: true', 'hello from the program']],
  ])('%s: what it should get comes, and it ends by itself', async (name, lines) => {
    const program = example(name)
    for (const line of lines) expect(await program.line()).toBe(line)
    expect(await program.exit).toMatchObject({ code: 0, stderr: '' })
  })

  it('session: every stream gets its answer', async () => {
    const server = await startServer()
    server.onConnection((stream) => stream.pipe(stream))
    const program = example('session', server.connectionString)
    expect(await program.line()).toBe("[ 'one', 'two', 'three' ]")
    expect(await program.line()).toBe('3 streams, 11 bytes')
    expect(await program.exit).toMatchObject({ code: 0, stderr: '' })
  })

  it('forward: its port leads to the target, and Ctrl-C ends it', async () => {
    const server = await startServer({ forwarding: true })
    const program = example('forward', server.connectionString, (await startEcho()).server)
    const ports = [...(await program.line()).matchAll(/127\.0\.0\.1:(\d+)/g)]
    expect(ports).toHaveLength(2)
    const socket = discard(tcpConnect(Number(ports[0]?.[1]), '127.0.0.1'))
    await say(socket, socket, 'through')
    socket.destroy()
    program.kill('SIGINT')
    expect(await program.exit).toMatchObject({ code: 0, stderr: '' })
  })

  it('tunnel: a stream gets its answer, a port leads there, and Ctrl-C ends it', async () => {
    const { host } = await chain()
    const echo = await startEcho()
    const program = example('tunnel', host.at, '5', `${echo.port}`)
    expect(await program.line()).toBe('a question')
    const socket = discard(tcpConnect(Number((await program.line()).split(':')[1]), '127.0.0.1'))
    await say(socket, socket, 'through')
    socket.destroy()
    program.kill('SIGINT')
    expect(await program.exit).toMatchObject({ code: 0, stderr: '' })
  })

  it('timeouts: silence ends it, and so does a server that cannot be reached', async () => {
    const server = await startServer()
    server.onConnection((stream) => stream.on('error', () => {}).resume())
    const silent = example('timeouts', server.connectionString, '50')
    expect(await silent.line()).toBe('it has gone silent')
    expect(await silent.exit).toMatchObject({ code: 0, stderr: '' })
    await server.close()
    const unreachable = example('timeouts', server.connectionString)
    expect(await unreachable.line()).toBe('ECONNREFUSED')
  })

  it('the demo ends well and says so', async () => {
    const program = start(process.execPath, [`${root}scripts/demo.mjs`], { lines: false })
    let text = ''
    for await (const chunk of program.stdout) text += chunk
    expect(await program.exit).toMatchObject({ code: 0, stderr: '' })
    expect(text).toContain('Everything arrived as it was sent')
    expect(text.split('\n').filter((line) => line.length > 80)).toEqual([])
  })
})
