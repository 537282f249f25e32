import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import http, { type IncomingMessage, type ServerResponse } from 'node:http'
import http2 from 'node:http2'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import tls from 'node:tls'
import { describe, expect, it } from 'vitest'
import { WebSocket, WebSocketServer } from 'ws'
import { type AlknetServer, type AlknetStream, openSession } from '../index.js'
import { closing, discard, pair, reach, sink, startServer } from './support/alknet.js'
import { chunks, MiB, pattern, receive, receiveAll, say, send, text } from './support/bytes.js'
import { afterwards, memo } from './support/cleanup.js'
import { scratch } from './support/keys.js'
import { describeWith } from './support/peers.js'

/** Echoes bodies, and says hello to those without. */
function answer(request: IncomingMessage, response: ServerResponse): void {
  if (request.method === 'GET') response.end(`hello from ${request.url}`)
  else request.pipe(response)
}

/** Hands every stream that `server` accepts to an HTTP server, which never listens itself. */
function attach(server: AlknetServer, handler: http.RequestListener = answer): http.Server {
  const web = http.createServer(handler)
  server.onConnection((stream) => web.emit('connection', stream))
  afterwards(() => web.closeAllConnections())
  return web
}

/** An HTTP request whose connection is `stream`. */
function request(stream: AlknetStream, options: http.RequestOptions): http.ClientRequest {
  return http.request({ host: 'alknet', ...options, createConnection: () => stream })
}

async function response(sent: http.ClientRequest): Promise<IncomingMessage> {
  const [message] = (await once(sent, 'response')) as [IncomingMessage]
  return message
}

/** Opens as many streams to `server` as a test asks for. */
async function opener(server: AlknetServer): Promise<() => Promise<AlknetStream>> {
  const session = await openSession(await reach(server))
  afterwards(() => session.close())
  return async () => discard(await session.open())
}

describe('HTTP over a stream', () => {
  it('answers, and ends the stream after it', async () => {
    const server = await startServer()
    attach(server)
    const stream = await (await opener(server))()
    const ended = closing(stream)
    const message = await response(request(stream, { path: '/there' }).end())
    expect(await text(message)).toBe('hello from /there')
    expect(await ended).toBeUndefined()
  })

  it('carries bodies of 16 MiB both ways', async () => {
    const server = await startServer()
    attach(server)
    const sent = request(await (await opener(server))(), { method: 'POST' })
    const [count] = await Promise.all([
      response(sent).then(receiveAll),
      pipeline(chunks(16 * MiB), sent),
    ])
    expect(count).toBe(16 * MiB)
  })

  it('keeps a stream alive for the requests of an agent', async () => {
    const server = await startServer()
    attach(server)
    const open = await opener(server)
    const stream = await open()
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
    agent.createConnection = () => stream
    afterwards(() => agent.destroy())
    for (const path of ['/1', '/2', '/3']) {
      const message = await response(http.request({ host: 'alknet', path, agent }).end())
      expect(await text(message)).toBe(`hello from ${path}`)
    }
    expect(stream.destroyed).toBe(false)
  })

  it('ends the request when the server drops the stream', async () => {
    const server = await startServer()
    attach(server, (incoming) => incoming.socket.destroy())
    const sent = request(await (await opener(server))(), { path: '/' }).end()
    const [error] = await once(sent, 'error')
    expect(error).toMatchObject({ code: 'ECONNRESET' })
  })

  it('ends an answer that its client no longer wants', async () => {
    const server = await startServer()
    const abandoned = new Promise<void>((resolve) => {
      attach(server, (_request, reply) => {
        pipeline(chunks(1024 * MiB), reply).catch(() => resolve())
      })
    })
    const sent = request(await (await opener(server))(), { path: '/endless' }).end()
    const message = await response(sent)
    await once(message, 'data')
    sent.on('error', () => {}).destroy()
    await abandoned
  })

  it('serves twenty streams of one session at once', async () => {
    const server = await startServer()
    attach(server)
    const open = await opener(server)
    const answers = Array.from({ length: 20 }, async (_, number) => {
      return text(await response(request(await open(), { path: `/${number}` }).end()))
    })
    expect(await Promise.all(answers)).toEqual(answers.map((_, number) => `hello from /${number}`))
  })

  it('is spoken by HTTP/2 too', async () => {
    const server = await startServer()
    const web = http2.createServer()
    web.on('stream', (stream) => stream.pipe(stream))
    server.onConnection((stream) => web.emit('connection', stream))
    const stream = await (await opener(server))()
    const client = http2.connect('http://alknet', { createConnection: () => stream })
    afterwards(() => client.destroy())
    const moves = Array.from({ length: 4 }, async () => {
      const exchange = client.request({ ':method': 'POST', ':path': '/' })
      const [count] = await Promise.all([receiveAll(exchange), pipeline(chunks(4 * MiB), exchange)])
      return count
    })
    expect(await Promise.all(moves)).toEqual(Array(4).fill(4 * MiB))
  })
})

/** A certificate for `alknet.test` that signs itself. */
const certificate = memo(() => {
  const [key, cert] = [join(scratch(), 'tls.key'), join(scratch(), 'tls.crt')]
  const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2']
  const name = ['-subj', '/CN=alknet.test', '-addext', 'subjectAltName=DNS:alknet.test']
  const files = ['-keyout', key, '-out', cert]
  execFileSync('openssl', ['req', '-x509', ...kind, ...name, ...files], { stdio: 'pipe' })
  return { key: readFileSync(key), cert: readFileSync(cert) }
})

describeWith('openssl', 'TLS over a stream', () => {
  async function tlsPair() {
    const { client, peer } = await pair()
    const { key, cert } = certificate()
    const far = discard(new tls.TLSSocket(peer, { isServer: true, key, cert }))
    const near = discard(tls.connect({ socket: client, servername: 'alknet.test', ca: cert }))
    await once(near, 'secureConnect')
    return { near, far, client, peer }
  }

  it('proves its server and carries data both ways', async () => {
    const { near, far } = await tlsPair()
    expect(near.authorized).toBe(true)
    await Promise.all([
      send(near, 16 * MiB),
      send(far, 16 * MiB),
      receive(near, 16 * MiB),
      receive(far, 16 * MiB),
    ])
  })

  it('ends when its far side ends, and so does the stream', async () => {
    const { near, far, client, peer } = await tlsPair()
    await say(near, far, 'farewell')
    const ends = Promise.all([near, far, client, peer].map(closing))
    // As over any socket that may be half-open, TLS may be too: each side ends for itself.
    sink(near).on('end', () => near.end())
    sink(far).end()
    expect(await ends).toEqual([undefined, undefined, undefined, undefined])
  })

  it('fails when the stream below is lost', async () => {
    const { near, peer } = await tlsPair()
    const lost = closing(sink(near))
    peer.resetAndDestroy()
    expect(await lost).toMatchObject({ code: 'ECONNRESET' })
  })
})

describe('WebSockets over a stream', () => {
  async function socketPair() {
    const server = await startServer()
    const sockets = new WebSocketServer({ server: attach(server), perMessageDeflate: false })
    afterwards(() => sockets.close())
    const stream = await (await opener(server))()
    const accepted = once(sockets, 'connection')
    const near = new WebSocket('ws://alknet/', { createConnection: () => stream as never })
    await once(near, 'open')
    const [far] = (await accepted) as [WebSocket]
    return { near, far, stream }
  }

  it('carry messages of every size both ways', async () => {
    const { near, far } = await socketPair()
    far.on('message', (data, binary) => far.send(data, { binary }))
    for (const size of [0, 1, 125, 126, 65_535, 65_536, 8 * MiB]) {
      const sent = Buffer.concat([...chunks(size)])
      const back = once(near, 'message')
      near.send(sent)
      const [got] = (await back) as [Buffer]
      expect(got.equals(sent)).toBe(true)
    }
  })

  it('answer pings, and close with code and reason', async () => {
    const { near, far, stream } = await socketPair()
    const pong = once(near, 'pong')
    near.ping('are you there')
    expect(String((await pong)[0])).toBe('are you there')
    const closed = once(near, 'close')
    const streamClosed = once(stream, 'close')
    far.close(4_001, 'enough')
    const [code, reason] = await closed
    expect([code, String(reason)]).toEqual([4_001, 'enough'])
    await streamClosed
  })

  it('close abnormally when the stream is lost', async () => {
    const { near, far } = await socketPair()
    const closed = new Promise((resolve) => near.on('error', () => {}).once('close', resolve))
    near.send(pattern(0, 1_000))
    await once(far, 'message')
    far.terminate()
    expect(await closed).toBe(1_006)
  })
})
