import { once } from 'node:events'
import { Duplex, PassThrough, Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { describe, expect, it } from 'vitest'
import { closing, type Pair, pair, sessionPair, sink } from './support/alknet.js'
import { chunks, MiB, pattern, receive, receiveAll, say, send, text } from './support/bytes.js'

/** The two ends as seen from the one a case is about. */
function from(side: 'client' | 'server', { client, peer }: Pair) {
  return side === 'client' ? { near: client, far: peer } : { near: peer, far: client }
}

const sides = ['client', 'server'] as const

describe('bytes', () => {
  it('arrive unchanged both ways at once', async () => {
    const { client, peer } = await pair()
    await Promise.all([
      send(client, 16 * MiB),
      send(peer, 16 * MiB, 1_000),
      receive(client, 16 * MiB),
      receive(peer, 16 * MiB),
    ])
  })

  it('may be strings, typed arrays, empty or corked', async () => {
    const { client, peer } = await pair()
    client.cork()
    client.write('grüße ')
    client.write('')
    client.write(new Uint8Array([0x61, 0x62]))
    client.write(Buffer.alloc(0))
    client.write('63', 'hex')
    client.uncork()
    client.end('!')
    expect(await text(peer)).toBe('grüße abc!')
  })

  it('are the stream’s own once write() has returned', async () => {
    const { client, peer } = await pair()
    const arrived = receive(peer, 8 * MiB)
    for (const piece of chunks(8 * MiB)) {
      const reused = Buffer.from(piece)
      await new Promise((resolve) => client.write(reused, resolve))
      reused.fill(0)
    }
    await arrived
  })

  it('are decoded whole when an encoding is set', async () => {
    const { client, peer } = await pair()
    peer.setEncoding('utf8')
    const euro = Buffer.from('€')
    client.write(Buffer.concat([Buffer.from('5 '), euro.subarray(0, 1)]))
    await once(peer, 'readable')
    client.end(euro.subarray(1))
    let got = ''
    for await (const piece of peer) got += piece
    expect(got).toBe('5 €')
  })

  it.each(sides)('are counted at the %s', async (side) => {
    const { near, far } = from(side, await pair())
    await Promise.all([send(near, MiB), receive(far, MiB)])
    await say(far, near, 'ten bytes!')
    expect(near).toMatchObject({ bytesWritten: MiB, bytesRead: 10, bufferSize: 0 })
  })
})

describe('backpressure', () => {
  it.each(sides)('holds a writer at the %s back until the other end reads', async (side) => {
    const session = await sessionPair()
    const { near, far } = from(side, await session.open())
    const witness = await session.open()
    let sent = false
    const sending = send(near, 64 * MiB).then(() => {
      sent = true
    })
    await Promise.all([send(witness.client, 8 * MiB), receive(witness.peer, 8 * MiB)])
    expect(sent).toBe(false)
    await Promise.all([sending, receive(far, 64 * MiB)])
  })

  it('bounds what an end that does not read holds in JavaScript', async () => {
    const session = await sessionPair()
    const { client, peer } = await session.open()
    const witness = await session.open()
    client.on('error', () => {})
    send(client, 64 * MiB).catch(() => {})
    await once(peer, 'readable')
    await Promise.all([send(witness.client, 8 * MiB), receive(witness.peer, 8 * MiB)])
    expect(peer.readableLength).toBeLessThanOrEqual(peer.readableHighWaterMark + 64 * 1024)
  })
})

describe('Node’s tools', () => {
  it('pipeline() goes from a source through both ends to a sink', async () => {
    const { client, peer } = await pair()
    const echoed = pipeline(peer, new PassThrough(), peer)
    const received = receiveAll(client)
    await pipeline(chunks(16 * MiB), client)
    expect(await received).toBe(16 * MiB)
    await echoed
  })

  it('pipeline() that fails destroys the stream, and the other end sees a reset', async () => {
    const { client, peer } = await pair()
    const lost = closing(sink(peer))
    const broken = new Transform({
      transform: (_chunk, _encoding, done) => done(new Error('broken')),
    })
    await expect(pipeline(chunks(MiB), broken, client)).rejects.toThrow('broken')
    expect(client.destroyed).toBe(true)
    expect(await lost).toMatchObject({ code: 'ECONNRESET' })
  })

  it('for await yields everything and ends', async () => {
    const { client, peer } = await pair()
    const received = receiveAll(peer)
    await send(client, 4 * MiB)
    client.end()
    expect(await received).toBe(4 * MiB)
  })

  it('leaving for await destroys the stream, and the other end sees a reset', async () => {
    const { client, peer } = await pair()
    const lost = closing(client)
    client.write('first')
    for await (const chunk of peer) {
      expect(String(chunk)).toBe('first')
      break
    }
    expect(peer.destroyed).toBe(true)
    expect(await lost).toMatchObject({ code: 'ECONNRESET' })
  })

  it('for await throws when the session is lost', async () => {
    const { server, client, peer } = await pair()
    peer.on('error', () => {})
    const reading = receiveAll(client)
    await Promise.all([once(client, 'readable'), send(peer, 1)])
    const closed = server.close()
    await expect(reading).rejects.toMatchObject({ code: 'ERR_ALKNET_SESSION_CLOSED' })
    await closed
  })

  it('Duplex.toWeb() reads and writes', async () => {
    const { client, peer } = await pair()
    peer.pipe(peer)
    const { readable, writable } = Duplex.toWeb(client)
    const writer = writable.getWriter()
    await writer.write(Buffer.from('over the web'))
    await writer.close()
    let got = ''
    for await (const chunk of readable) got += Buffer.from(chunk as Uint8Array).toString()
    expect(got).toBe('over the web')
  })
})

describe('half-close', () => {
  it.each(sides)('by the %s reaches the other side, which goes on sending', async (side) => {
    const { near, far } = from(side, await pair())
    near.end('question')
    expect(await text(far)).toBe('question')
    const answered = receiveAll(near)
    await send(far, 4 * MiB)
    far.end()
    expect(await answered).toBe(4 * MiB)
  })

  it.each(sides)('by both closes both without an error, the %s first', async (side) => {
    const { near, far } = from(side, await pair())
    const ends = Promise.all([closing(sink(near)), closing(sink(far))])
    near.end()
    await once(far, 'end')
    far.end()
    expect(await ends).toEqual([undefined, undefined])
  })

  it('ends the other direction by itself with allowHalfOpen: false', async () => {
    const { client, peer } = await pair({ connect: { allowHalfOpen: false } })
    const ends = Promise.all([closing(sink(client)), closing(sink(peer))])
    peer.end()
    expect(await ends).toEqual([undefined, undefined])
  })

  it('ends the other direction by itself with allowHalfOpen: false at the server', async () => {
    const { client, peer } = await pair({ serve: { allowHalfOpen: false } })
    const ends = Promise.all([closing(sink(client)), closing(sink(peer))])
    client.end()
    expect(await ends).toEqual([undefined, undefined])
  })

  it('shows in readyState', async () => {
    const { client, peer } = await pair()
    expect(client).toMatchObject({ readyState: 'open', connecting: false, pending: false })
    client.end()
    await once(sink(peer), 'end')
    expect(client.readyState).toBe('readOnly')
    expect(peer.readyState).toBe('writeOnly')
    peer.end()
    await once(sink(client), 'close')
    expect(client.readyState).toBe('closed')
  })
})

describe('the shape of net.Socket', () => {
  it('emits timeout in silence and stays open', async () => {
    const { client, peer } = await pair()
    const called = new Promise<void>((resolve) => {
      expect(client.setTimeout(20, resolve)).toBe(client)
    })
    expect(client.timeout).toBe(20)
    await Promise.all([once(client, 'timeout'), called])
    client.setTimeout(0)
    await say(client, peer, 'still here')
  })

  it('destroySoon() sends everything before it closes', async () => {
    const { client, peer } = await pair()
    const received = receiveAll(peer)
    for (const piece of chunks(4 * MiB)) client.write(piece)
    client.destroySoon()
    expect(await received).toBe(4 * MiB)
    if (!client.closed) await once(client, 'close')
    expect(client.destroyed).toBe(true)
  })

  it('resetAndDestroy() is seen as a reset', async () => {
    const { client, peer } = await pair()
    const lost = closing(sink(peer))
    expect(client.resetAndDestroy()).toBe(client)
    expect(await lost).toMatchObject({ code: 'ECONNRESET' })
  })

  it('takes the calls that programs make on sockets', async () => {
    const { client, peer } = await pair()
    expect(client.setNoDelay().setKeepAlive(true, 1_000).ref()).toBe(client)
    await say(client, peer, 'unimpressed')
  })

  it('knows its addresses, and both ends name the same connection', async () => {
    const { server, client, peer } = await pair()
    const port = Number(server.addresses[0]?.split(':').at(-1))
    expect(client).toMatchObject({
      remoteAddress: '127.0.0.1',
      remotePort: port,
      remoteFamily: 'IPv4',
    })
    expect(peer).toMatchObject({ localAddress: '127.0.0.1', localPort: port, localFamily: 'IPv4' })
    expect(peer.remotePort).toBe(client.localPort)
    expect(client.address()).toEqual({
      address: '127.0.0.1',
      family: 'IPv4',
      port: client.localPort,
    })
    expect(peer.info.sessionId).toMatch(/^[0-9a-f]{32,}$/)
    expect(client.info.sessionId).toBe(peer.info.sessionId)
    expect(client.info.keyFingerprint).toBe(peer.info.keyFingerprint)
  })
})

describe('a late reader', () => {
  it('finds all that came before it, and then the end', async () => {
    const { client, peer } = await pair()
    client.end(pattern(0, 1_000))
    await once(client, 'finish')
    await say(peer, client, 'go on')
    expect(await receiveAll(peer)).toBe(1_000)
  })

  it('finds the bytes that came before a reset', async () => {
    const session = await sessionPair()
    const { client, peer } = await session.open()
    const witness = await session.open()
    const lost = closing(peer)
    await Promise.all([send(client, 100_000), once(peer, 'readable')])
    client.resetAndDestroy()
    await say(witness.client, witness.peer, 'the reset is through')
    await receive(peer, 100_000)
    expect(await lost).toMatchObject({ code: 'ECONNRESET' })
  })
})
