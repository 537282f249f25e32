import { createPubSub, filter, map, pipe } from '@graphql-yoga/subscription'
import { describe, expect, it, vi } from 'vitest'
import { type AlknetServer, connect, createAlknetEventTarget } from '../index.js'
import { discard, reach, startServer } from './support/alknet.js'
import { clientKey } from './support/keys.js'
import { startNode } from './support/program.js'

type Topics = {
  plain: [payload: unknown]
  keyed: [id: string | number, payload: unknown]
  other: [id: string | number, payload: unknown]
}

async function member(server: AlknetServer) {
  const stream = discard(await connect(await reach(server)))
  const eventTarget = createAlknetEventTarget({ stream })
  return { eventTarget, ...createPubSub<Topics>({ eventTarget }) }
}

/** Subscribes as yoga does, on the first `next()`, and waits until the bus knows. */
async function subscribe(
  { eventTarget, subscribe: to }: Awaited<ReturnType<typeof member>>,
  ...topic: readonly ['plain'] | readonly ['keyed' | 'other', string | number]
) {
  const events = topic.length === 1 ? to(topic[0]) : to(topic[0], topic[1])
  const first = events.next()
  await vi.waitFor(async () => expect(await eventTarget.ready(topic.join(':'))).toBe(true), 20_000)
  return { events, first }
}

const values = [null, 0, '', 'text', false, [1, [2]], { a: { b: 'c' } }, 'ä😀', 1.5e-7]

describe('createPubSub of graphql-yoga over a bus', () => {
  it('delivers what is published to the publisher and to all others', async () => {
    const server = await startServer({ bus: true })
    const [one, two] = [await member(server), await member(server)]
    const both = [await subscribe(one, 'plain'), await subscribe(two, 'plain')]
    for (const value of values) one.publish('plain', value)
    for (const { events, first } of both) {
      const got = [(await first).value]
      while (got.length < values.length) got.push((await events.next()).value)
      expect(got).toEqual(values)
    }
  })

  it('keeps ids apart, numbers and strings alike, and from the topic without', async () => {
    const server = await startServer({ bus: true })
    const [publisher, subscriber] = [await member(server), await member(server)]
    const seven = await subscribe(subscriber, 'keyed', 7)
    const other = await subscribe(subscriber, 'keyed', 'a:b')
    publisher.publish('keyed', 8, 'nobody’s')
    publisher.publish('keyed', '7', 'of 7')
    publisher.publish('keyed', 'a:b', 'of a:b')
    expect((await seven.first).value).toBe('of 7')
    expect((await other.first).value).toBe('of a:b')
  })

  it('keeps topics apart that come together, of one id too, each in its order', async () => {
    const server = await startServer({ bus: true })
    const [publisher, subscriber] = [await member(server), await member(server)]
    const topics = [['plain'], ['keyed', 1], ['other', 1]] as const
    const all = []
    for (const topic of topics) all.push(await subscribe(subscriber, ...topic))
    for (let number = 0; number < 50; number++) {
      publisher.publish('plain', number)
      publisher.publish('keyed', 1, `keyed ${number}`)
      publisher.publish('other', 1, `other ${number}`)
    }
    const got = await Promise.all(
      all.map(async ({ events, first }) => {
        const values = [(await first).value]
        while (values.length < 50) values.push((await events.next()).value)
        return values
      }),
    )
    const numbers = Array.from({ length: 50 }, (_, number) => number)
    const named = ['keyed', 'other'].map((name) => numbers.map((number) => `${name} ${number}`))
    expect(got).toEqual([numbers, ...named])
  })

  it('filters and maps what comes, in a pipe', async () => {
    const server = await startServer({ bus: true })
    const [publisher, subscriber] = [await member(server), await member(server)]
    const even = pipe(
      subscriber.subscribe('plain'),
      filter((value) => Number(value) % 2 === 0),
      map((value) => `even: ${value}`),
    )
    const first = even.next()
    await vi.waitFor(async () => {
      expect(await subscriber.eventTarget.ready('plain')).toBe(true)
    }, 20_000)
    for (let number = 1; number <= 4; number++) publisher.publish('plain', number)
    expect([(await first).value, (await even.next()).value]).toEqual(['even: 2', 'even: 4'])
    await even.return()
    await vi.waitFor(() => expect(server.metrics().bus?.subscriptions).toBe(0), 20_000)
  })

  it('gives a payload that is left out as null', async () => {
    const server = await startServer({ bus: true })
    const [publisher, subscriber] = [await member(server), await member(server)]
    const { first } = await subscribe(subscriber, 'plain')
    publisher.publish('plain', undefined)
    expect((await first).value).toBeNull()
  })

  it('stops with return(), for that iterator alone, and unsubscribes with the last', async () => {
    const server = await startServer({ bus: true })
    const [publisher, subscriber] = [await member(server), await member(server)]
    const left = await subscribe(subscriber, 'plain')
    const right = await subscribe(subscriber, 'plain')
    await left.events.return()
    publisher.publish('plain', 'still heard')
    expect((await right.first).value).toBe('still heard')
    expect(server.metrics().bus).toMatchObject({ subscriptions: 1 })
    await right.events.return()
    await vi.waitFor(() => expect(server.metrics().bus?.subscriptions).toBe(0), 20_000)
  })
})

it('two servers of GraphQL Yoga deliver each other’s subscriptions', async () => {
  const bus = await startServer({ bus: true })
  const args = [bus.connectionString, (await clientKey()).path]
  const [one, two] = [startNode('yoga-server', args), startNode('yoga-server', args)]
  const ports = await Promise.all([one, two].map((server) => server.json<{ port: number }>()))
  const ask = async (at: number, query: string) => {
    const headers = { accept: 'application/json', 'content-type': 'application/json' }
    const body = JSON.stringify({ query })
    return fetch(`http://127.0.0.1:${ports[at]?.port}/graphql`, { method: 'POST', headers, body })
  }
  const controller = new AbortController()
  const url = `http://127.0.0.1:${ports[0]?.port}/graphql?query=${encodeURIComponent('subscription { said(room: "tea") }')}`
  const stream = await fetch(url, {
    headers: { accept: 'text/event-stream' },
    signal: controller.signal,
  })
  const text = stream.body?.pipeThrough(new TextDecoderStream()).getReader()
  await vi.waitFor(async () => {
    const { data } = (await (await ask(0, '{ ready(room: "tea") }')).json()) as {
      data: { ready: boolean }
    }
    expect(data.ready).toBe(true)
  }, 20_000)
  const say = await ask(1, 'mutation { say(room: "tea", text: "milk first") }')
  expect(await say.json()).toEqual({ data: { say: true } })
  let got = ''
  while (!got.includes('milk first')) got += (await text?.read())?.value
  expect(got).toContain('data: {"data":{"said":"milk first"}}')
  controller.abort()
})
