import { once } from 'node:events'
import { describe, expect, it } from 'vitest'
import { openSession } from '../index.js'
import {
  closing,
  discard,
  type Pair,
  pair,
  type SessionPair,
  sessionPair,
} from './support/alknet.js'
import { chunks, KiB, MiB, receive, receiveAll, say, send, text } from './support/bytes.js'
import { afterwards } from './support/cleanup.js'
import { clientKey } from './support/keys.js'
import { startNode } from './support/program.js'

const sides = ['client', 'server'] as const

/** The two ends as seen from the one that sends. */
function from(side: (typeof sides)[number], { client, peer }: Pair) {
  return side === 'client' ? { near: client, far: peer } : { near: peer, far: client }
}

/** Starts a transfer that nobody reads, so much that no buffer on the way takes it all. */
async function stall(session: SessionPair, side: (typeof sides)[number], total = 64 * MiB) {
  const { near, far } = from(side, await session.open())
  const stalled = { near, far, done: false }
  const sending = send(near, total).then(() => {
    stalled.done = true
  })
  const release = () => Promise.all([sending, receive(far, total)])
  sending.catch(() => {})
  await once(far, 'readable')
  return { stalled, release }
}

async function move({ near, far }: ReturnType<typeof from>, total: number): Promise<void> {
  await Promise.all([send(near, total), receive(far, total)])
}

describe('a reader that stalls', () => {
  for (const side of sides) {
    it(`leaves the other streams going when the ${side} sends`, async () => {
      const session = await sessionPair()
      const { stalled, release } = await stall(session, side)
      const others = [await session.open(), await session.open()]
      for (const other of others) {
        await move(from('client', other), 16 * MiB)
        await move(from('server', other), 16 * MiB)
        await say(other.client, other.peer, 'and small ones')
      }
      expect(stalled.done).toBe(false)
      await release()
    })
  }

  it('leaves the others going when there are fifty like it, half of them each way', async () => {
    const session = await sessionPair({
      serve: { window: 256 * KiB },
      connect: { window: 256 * KiB },
    })
    const held = []
    for (let i = 0; i < 50; i += 1)
      held.push(await stall(session, i % 2 === 0 ? 'client' : 'server', 4 * MiB))
    const other = await session.open()
    await Promise.all([
      send(other.client, 16 * MiB),
      send(other.peer, 16 * MiB),
      receive(other.client, 16 * MiB),
      receive(other.peer, 16 * MiB),
    ])
    expect(held.map(({ stalled }) => stalled.done)).toEqual(held.map(() => false))
    await Promise.all(held.map(({ release }) => release()))
  })

  it.each(sides)(
    'is sent no more than the window and two buffers when the %s sends',
    async (side) => {
      const window = MiB
      const session = await sessionPair({ serve: { window }, connect: { window } })
      const { stalled } = await stall(session, side)
      const witness = await session.open()
      await move(from(side, witness), 32 * MiB)
      // In the reader's program: 64 KiB, and a read of as much that began just below it. Under way: a packet.
      const handed = 2 * 64 * KiB + 64 * KiB
      const sent = stalled.near.bytesWritten - stalled.near.bufferSize
      expect(sent).toBeGreaterThan(window)
      expect(sent).toBeLessThanOrEqual(2 * window + handed)
      stalled.near.on('error', () => {}).destroy()
      stalled.far.on('error', () => {}).destroy()
    },
  )

  it('may go away, and the others do not notice', async () => {
    const session = await sessionPair()
    const { stalled } = await stall(session, 'client')
    const other = await session.open()
    const moving = move(from('server', other), 16 * MiB)
    const gone = closing(stalled.near)
    stalled.far.destroy()
    await Promise.all([gone, moving])
    await say(other.client, other.peer, 'on we go')
  })

  it('costs its process no more than its windows', async () => {
    const streams = 64
    const window = 256 * KiB
    const { path, publicPath } = await clientKey()
    const child = startNode(
      'serve',
      [publicPath, 'stall', JSON.stringify({ window })],
      ['--expose-gc'],
    )
    const target = await child.json<{ server: string; hostKeys: string }>()
    const session = await openSession({ ...target, identity: path })
    afterwards(() => session.close())
    const look = () => {
      child.stdin.write('\n')
      return child.json<{ rss: number; open: number }>()
    }
    const witness = discard(await session.open())
    await say(witness, witness, 'echo')
    const opened = []
    for (let i = 0; i < streams; i += 1) opened.push(discard(await session.open()))
    // What a transfer leaves in the allocators is there before.
    const transfer = () => move({ near: witness, far: witness }, 64 * MiB)
    await transfer()
    const before = await look()
    for (const stream of opened) {
      stream.on('error', () => {})
      send(stream, 16 * MiB).catch(() => {})
    }
    // By the time a full transfer is through on a stream that is read, these have got as far as they get.
    await transfer()
    const after = await look()
    expect(after.open).toBe(streams)
    const grown = after.rss - before.rss
    expect(grown).toBeGreaterThan((streams * window) / 2)
    expect(grown).toBeLessThan(streams * 2 * window)
  })
})

describe('bulk', () => {
  it('moves on eight streams each way at once on one session', async () => {
    const session = await sessionPair()
    const streams: Pair[] = []
    for (let i = 0; i < 16; i += 1) streams.push(await session.open())
    await Promise.all(
      streams.map((stream, i) => move(from(i % 2 === 0 ? 'client' : 'server', stream), 16 * MiB)),
    )
  })

  it('moves both ways on each of eight streams at once on one session', async () => {
    const session = await sessionPair()
    const streams: Pair[] = []
    for (let i = 0; i < 8; i += 1) streams.push(await session.open())
    await Promise.all(
      streams.flatMap((stream) => sides.map((side) => move(from(side, stream), 16 * MiB))),
    )
  })

  it.each(sides)('goes 100 MB to the %s after it has half-closed', async (side) => {
    const { near, far } = from(side, await pair())
    near.end('go')
    expect(await text(far)).toBe('go')
    const total = 100_000_000
    const received = receiveAll(near)
    await send(far, total)
    far.end()
    expect(await received).toBe(total)
  })

  it('goes on past many windows while the other direction is never read', async () => {
    const session = await sessionPair({
      serve: { window: 256 * KiB },
      connect: { window: 256 * KiB },
    })
    const { client, peer } = await session.open()
    send(peer, 64 * MiB).catch(() => {})
    await move({ near: client, far: peer }, 100 * MiB)
    client.on('error', () => {}).destroy()
    await closing(peer)
    const other = await session.open()
    await move(from('client', other), 16 * MiB)
  })

  it('in writes of one byte arrives whole', async () => {
    const { client, peer } = await pair()
    await Promise.all([send(client, 100_000, 1), receive(peer, 100_000)])
  })

  it('in one write of 64 MiB arrives whole', async () => {
    const { client, peer } = await pair()
    const whole = Buffer.concat([...chunks(64 * MiB)])
    const received = receiveAll(peer)
    await new Promise<void>((resolve) => client.end(whole, resolve))
    expect(await received).toBe(whole.length)
  })
})

describe('who speaks first', () => {
  it.each(sides)('may be the %s with 20 MB before it reads any of 20 MB', async (side) => {
    const { near, far } = from(side, await pair())
    const both = Promise.all([send(far, 20 * MiB), receive(far, 20 * MiB)])
    await send(near, 20 * MiB)
    await receive(near, 20 * MiB)
    await both
  })

  it('may be the server, at once', async () => {
    const { client, peer } = await pair()
    await say(peer, client, '220 ready')
    await say(client, peer, 'EHLO')
  })
})
