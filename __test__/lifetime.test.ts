import { once } from 'node:events'
import { describe, expect, it } from 'vitest'
import { type AlknetStream, connect, openSession, serve } from '../index.js'
import {
  closing,
  discard,
  nextConnection,
  type Pair,
  pair,
  reach,
  sessionPair,
  sink,
  startServer,
} from './support/alknet.js'
import { MiB, pattern, say, send } from './support/bytes.js'
import { clientKey, strangerKey } from './support/keys.js'
import { startFaultyLink } from './support/net.js'
import { startNode } from './support/program.js'

/** Moments at which a stream may be destroyed while its other end is still open. */
const moments: Record<string, (near: AlknetStream, far: AlknetStream) => unknown> = {
  'before any byte': (near) => near.destroy(),
  twice: (near) => near.destroy().destroy(),
  'with more written than fits': (near) => {
    for (let i = 0; i < 64; i += 1) near.write(pattern(0, 256 * 1024))
    near.destroy()
  },
  'in a write callback': async (near) => {
    await new Promise((resolve) => near.write('x', resolve))
    near.destroy()
  },
  'while bytes come': async (near, far) => {
    send(far, 64 * MiB).catch(() => {})
    await once(near, 'data')
    near.destroy()
  },
  'in its own data listener': async (near, far) => {
    send(far, 64 * MiB).catch(() => {})
    await once(
      near.once('data', () => near.destroy()),
      'data',
    )
  },
  'after it has ended': async (near, far) => {
    near.end()
    await once(far, 'end')
    near.destroy()
  },
}

const sides = ['client', 'server'] as const

function from(side: (typeof sides)[number], { client, peer }: Pair) {
  return side === 'client' ? { near: client, far: peer } : { near: peer, far: client }
}

describe('destroy()', () => {
  for (const side of sides) {
    it.each(Object.entries(moments))(`at the ${side} %s closes both ends`, async (moment, act) => {
      const { near, far } = from(side, await pair())
      // Who has ended may leave: the other one has read everything there was, as with a socket.
      const expected = moment === 'after it has ended' ? undefined : { code: 'ECONNRESET' }
      let closed = 0
      near.on('close', () => (closed += 1))
      const ends = Promise.all([closing(near), closing(sink(far))])
      await act(near, far)
      const [own, other] = await ends
      expect(own).toBeUndefined()
      if (expected === undefined) expect(other).toBeUndefined()
      else expect(other).toMatchObject(expected)
      expect(closed).toBe(1)
    })
  }

  it('with an error gives it to this end and a reset to the other', async () => {
    const { client, peer } = await pair()
    const ends = Promise.all([closing(client), closing(sink(peer))])
    const reason = new Error('enough')
    client.destroy(reason)
    const [own, other] = await ends
    expect(own).toBe(reason)
    expect(other).toMatchObject({ code: 'ECONNRESET' })
  })

  it('ends only its own stream of a session', async () => {
    const { open } = await sessionPair()
    const [first, second] = [await open(), await open()]
    const lost = closing(sink(first.peer))
    first.client.destroy()
    await lost
    await say(second.client, second.peer, 'not me')
    await say(second.peer, second.client, 'nor me')
  })

  it('of what connect() gave ends the session with it', async () => {
    const server = await startServer()
    const options = await reach(server)
    const link = await startFaultyLink(options.server)
    const ended = link.next().then(closing)
    const accepted = nextConnection(server)
    const client = await connect({ ...options, server: link.server })
    sink((await accepted).stream).on('error', () => {})
    client.destroy()
    await ended
  })
})

describe('writing', () => {
  it('after end() fails with Node’s code', async () => {
    const { client, peer } = await pair()
    sink(peer).on('error', () => {})
    client.end('last')
    const failed = closing(client)
    client.write('too late')
    expect(await failed).toMatchObject({ code: 'ERR_STREAM_WRITE_AFTER_END' })
  })

  it('after destroy() fails with Node’s code', async () => {
    const { client } = await pair()
    client.destroy()
    const error = await new Promise((resolve) => client.write('too late', resolve))
    expect(error).toMatchObject({ code: 'ERR_STREAM_DESTROYED' })
  })

  it('a reply to a peer that is gone by now fails as such', async () => {
    const { client, peer } = await pair()
    const asked = once(sink(peer), 'end')
    client.end('question')
    await asked
    const gone = closing(peer)
    client.destroy()
    await gone
    const error = await new Promise((resolve) => peer.write('answer', resolve))
    expect((error as NodeJS.ErrnoException).code).toMatch(
      /^(EPIPE|ECONNRESET|ERR_STREAM_DESTROYED)$/,
    )
  })

  it('to a peer that is gone fails its callbacks', async () => {
    const { client, peer } = await pair()
    const lost = closing(client)
    const callbacks = Array.from({ length: 64 }, () => {
      return new Promise((resolve) => client.write(pattern(0, 256 * 1024), resolve))
    })
    peer.destroy()
    expect((await Promise.all(callbacks)).at(-1)).toBeInstanceOf(Error)
    expect(await lost).toMatchObject({ code: 'ECONNRESET' })
  })
})

describe('disposal', () => {
  it('of a stream closes both ends', async () => {
    const { client, peer } = await pair()
    const lost = closing(sink(peer))
    client.on('error', () => {})
    await client[Symbol.asyncDispose]()
    expect(client.destroyed).toBe(true)
    await lost
  })

  it('await using ends server, session and stream in order', async () => {
    const { publicPath, path } = await clientKey()
    const { server, ends } = await (async () => {
      await using server = await serve({ listen: '127.0.0.1:0', authorizedKeys: publicPath })
      const options = {
        server: server.addresses[0] ?? '',
        hostKeys: server.hostKey,
        identity: path,
      }
      await using session = await openSession(options)
      const accepted = nextConnection(server)
      const client = await session.open()
      const ends = Promise.all([closing(client), closing(sink((await accepted).stream))])
      return { server, ends }
    })()
    await ends
    expect(server.listening).toBe(false)
  })
})

/** Starts a child that connects to `server` and does what its script calls `action`. */
async function startClient(
  script: string,
  server: Awaited<ReturnType<typeof startServer>>,
  action = '',
) {
  return startNode(script, [JSON.stringify(await reach(server)), action], ['--expose-gc'])
}

/** All bytes up to the end; rejects when the stream is lost before it. */
function whole(stream: AlknetStream): Promise<Buffer> {
  const chunks: Buffer[] = []
  stream.on('data', (chunk: Buffer) => chunks.push(chunk))
  return new Promise((resolve, reject) => {
    stream.on('end', () => resolve(Buffer.concat(chunks)))
    stream.on('error', reject) // comes after the end, too: the session went with the process
  })
}

describe('a process', () => {
  it.each([
    'stream-destroyed',
    'stream-unref',
    'session-unref',
    'session-closed',
    'connect-failed',
  ])('exits by itself: %s', async (action) => {
    const server = await startServer()
    server.onConnection((stream) => sink(stream).on('error', () => {}))
    const child = await startClient('linger', server, action)
    expect(await child.exit).toMatchObject({ code: 0, stderr: '' })
  })

  it.each(['stream-held', 'stream-unref-ref'])(
    'stays while a stream is open: %s',
    async (action) => {
      const server = await startServer()
      const accepted = nextConnection(server)
      const child = await startClient('linger', server, action)
      const { stream } = await accepted
      for (let round = 0; round < 10; round += 1)
        await say(stream, stream, `are you there ${round}?`)
      stream.end()
      expect(await child.exit).toMatchObject({ code: 0, stderr: '' })
    },
  )

  it('stays while a session is open and leaves when it is lost', async () => {
    const server = await startServer()
    const child = await startClient('linger', server, 'session-held')
    expect(await child.line()).toBe('open')
    await (await startClient('linger', server, 'session-closed')).exit
    await server.close()
    expect(await child.line()).toBe('close')
    expect(await child.exit).toMatchObject({ code: 0, stderr: '' })
  })

  it('stays while its server listens, and leaves when that is closed or unref’d', async () => {
    const held = startNode('serve', [(await clientKey()).publicPath, 'close-on-connection'])
    const target = await held.json<{ server: string; hostKeys: string }>()
    const own = { identity: (await clientKey()).path, allowHalfOpen: false }
    await closing(sink(await connect({ ...target, ...own })))
    expect(await held.exit).toMatchObject({ code: 0, stderr: '' })
    const unref = startNode('serve', [(await clientKey()).publicPath, 'unref'])
    expect(await unref.exit).toMatchObject({ code: 0, stderr: '' })
  })

  it('exits with its own code while 100 streams carry data', async () => {
    const server = await startServer()
    server.onConnection((stream) => stream.on('error', () => {}).pipe(stream))
    const child = await startClient('linger', server, 'exit-with-streams')
    expect(await child.exit).toMatchObject({ code: 7, signal: null, stderr: '' })
  })

  // No more than the peer takes without a word of its own: a process that goes with credits unread has its connection reset.
  it.each([5, 60_000])(
    'that leaves in the callback of end() has sent all %i bytes and the end',
    async (size) => {
      const server = await startServer()
      const { server: address, hostKeys } = await reach(server)
      const { path: identity, publicPath: authorizedKeys } = await clientKey()
      const other = await strangerKey()
      const asClient = async () => {
        const accepted = nextConnection(server)
        startNode('leave', ['connect', address, `${hostKeys}`, identity, `${size}`])
        return whole((await accepted).stream)
      }
      const asServer = async () => {
        const program = startNode('leave', ['serve', other.path, authorizedKeys, `${size}`])
        const options = { server: await program.line(), hostKeys: other.fingerprint, identity }
        return whole(discard(await connect(options)))
      }
      const expected = Buffer.alloc(size, 'alknet')
      // More than once: what is lost, is lost by chance.
      for (let round = 0; round < 2; round++) {
        const received = await Promise.all([asClient(), asServer()])
        expect(received.map((bytes) => bytes.equals(expected))).toEqual([true, true])
      }
    },
  )

  it('dies of an exception in a listener as any other does', async () => {
    const server = await startServer()
    server.onConnection((stream) => stream.on('error', () => {}).write('boo'))
    const child = await startClient('linger', server, 'throw-in-listener')
    const { code, stderr } = await child.exit
    expect({ code, told: stderr.includes('thrown in a listener') }).toEqual({ code: 1, told: true })
  })

  it('survives workers that are terminated in mid-transfer', async () => {
    const server = await startServer()
    server.onConnection((stream) => stream.on('error', () => {}).pipe(stream))
    const child = await startClient('workers', server)
    expect(await child.exit).toMatchObject({ code: 0, signal: null, stderr: '' })
    await using session = await openSession(await reach(server))
    const client = sink(await session.open())
    await say(client, client, 'the server is well')
  })

  it('closes streams that nobody holds any more', async () => {
    const server = await startServer()
    const child = await startClient('collect', server, 'abandoned')
    const ends = []
    for (let i = 0; i < 20; i += 1) ends.push(closing(sink((await nextConnection(server)).stream)))
    await Promise.all(ends)
    child.stdin.end()
    expect(await child.exit).toMatchObject({ code: 0, stderr: '' })
  })

  it('keeps nothing of streams that were closed', async () => {
    const server = await startServer()
    server.onConnection((stream) => sink(stream).on('end', () => stream.end()))
    const child = await startClient('collect', server, 'closed')
    expect(await child.line()).toBe('all collected')
    expect(await child.exit).toMatchObject({ code: 0, stderr: '' })
  })

  it('leaves no descriptors behind after 200 connections', async () => {
    const child = startNode('cycles', [(await clientKey()).path, (await clientKey()).publicPath])
    const { before, after } = await child.json<{ before: number; after: number }>()
    // What the run time opens once and for all is not a leak.
    expect(after).toBeLessThanOrEqual(before + 2)
    expect(await child.exit).toMatchObject({ code: 0, stderr: '' })
  })
})
