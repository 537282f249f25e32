import { createPubSub, type PubSub } from '@graphql-yoga/subscription'
import type { TypedEventTarget as YogaEventTarget } from '@graphql-yoga/typed-event-target'
import { describe, expect, expectTypeOf, it } from 'vitest'
import {
  type AlknetEventTarget,
  connect,
  createAlknetEventTarget,
  type TypedEvent,
  type TypedEventTarget,
} from '../index.js'
import { discard } from './support/alknet.js'
import { pairs } from './support/duplexes.js'
import { clientKey } from './support/keys.js'
import { type Program, startNode } from './support/program.js'

type Topics = {
  plain: [payload: { n: number } | null]
  keyed: [id: string | number, payload: string]
}
type Events = TypedEvent<'a', number> | TypedEvent<'b', { text: string }>

describe('createPubSub of graphql-yoga', () => {
  it.each(pairs)(
    'publishes on one end and subscribes on the other over %s',
    async (_kind, makePair) => {
      const [near, far] = await makePair()
      const [left, right] = [near, far].map((stream) => {
        const eventTarget = createAlknetEventTarget({ stream })
        return { eventTarget, pubSub: createPubSub<Topics>({ eventTarget }) }
      })
      if (!left || !right) throw new Error('no pair')
      const plain = left.pubSub.subscribe('plain')
      const keyed = left.pubSub.subscribe('keyed', 7)
      const first = [plain.next(), keyed.next()]
      expect(await left.eventTarget.ready('plain')).toBe(true)
      expect(await left.eventTarget.ready('keyed:7')).toBe(true)
      right.pubSub.publish('keyed', 8, 'of another id')
      right.pubSub.publish('keyed', 7, 'of this id')
      right.pubSub.publish('plain', { n: 1 })
      right.pubSub.publish('plain', null)
      expect((await Promise.all(first)).map(({ value }) => value)).toEqual([{ n: 1 }, 'of this id'])
      expect((await plain.next()).value).toBe(null)
      await Promise.all([plain.return(), keyed.return()])
      await left.eventTarget.close()
      await right.eventTarget.closed
    },
  )

  it('works between two processes', async () => {
    const child = startNode('yoga', [(await clientKey()).publicPath])
    const { eventTarget, pubSub } = await dial(child)
    const counted = pubSub.subscribe('counted')
    const doubled = pubSub.subscribe('doubled', 'mine')
    const [count, double] = [counted.next(), doubled.next()]
    for (const topic of ['counted', 'doubled:mine']) {
      expect(await eventTarget.ready(topic)).toBe(true)
    }
    pubSub.publish('double', { id: 'mine', number: 21 })
    expect((await double).value).toEqual({ number: 42 })
    pubSub.publish('count', 1000)
    const numbers = [(await count).value]
    while (numbers.length < 1000) numbers.push((await counted.next()).value)
    expect(numbers).toEqual(Array.from({ length: 1000 }, (_, number) => number))
    await eventTarget.close()
    expect(await child.exit).toMatchObject({ code: 0, stderr: '' })
  })
})

type ChildTopics = {
  count: [number]
  counted: [number]
  double: [{ id: string; number: number }]
  doubled: [id: string, payload: { number: number }]
}

async function dial(
  child: Program,
): Promise<{ eventTarget: AlknetEventTarget; pubSub: PubSub<ChildTopics> }> {
  const where = await child.json<{ server: string; hostKeys: string }>()
  const stream = discard(await connect({ ...where, identity: (await clientKey()).path }))
  const eventTarget = createAlknetEventTarget({ stream })
  return { eventTarget, pubSub: createPubSub<ChildTopics>({ eventTarget }) }
}

it('event targets are assignable to and from those of @graphql-yoga/typed-event-target', () => {
  expectTypeOf<TypedEventTarget<Events>>().toExtend<YogaEventTarget<Events>>()
  expectTypeOf<YogaEventTarget<Events>>().toExtend<TypedEventTarget<Events>>()
  expectTypeOf<AlknetEventTarget<Events>>().toExtend<YogaEventTarget<Events>>()
  expectTypeOf<AlknetEventTarget<Events>>().toExtend<EventTarget>()
})
