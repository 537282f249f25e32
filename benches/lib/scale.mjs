// A bus of many servers in numbers: who is subscribed to what, and what each event costs. Nothing runs here; what two servers
// count for the same clients and events is compared with it (__test__/scale.test.ts, and benches/scale.mjs with --measure).

/** Numbers from 0 to 1, the same for the same seed (a generator of Marsaglia's, xorshift32). */
export function random(seed) {
  let state = seed >>> 0 || 1
  return () => {
    state ^= state << 13
    state >>>= 0
    state ^= state >>> 17
    state ^= state << 5
    state >>>= 0
    return state / 2 ** 32
  }
}

/**
 * Clients on servers, in turn, each subscribed to `perClient` topics. Topics are not equally wanted: the nth is drawn with a weight of
 * 1/n^skew; with 0 they are.
 */
export function populate({ clients, servers, topics, perClient, skew = 1, seed = 1 }) {
  const draw = drawer(topics, skew, random(seed))
  // Of each topic: how many subscribers at which server.
  const wanted = Array.from({ length: topics }, () => new Map())
  const subscriptions = Array.from({ length: clients }, (_, client) => {
    const own = new Set()
    while (own.size < Math.min(perClient, topics)) own.add(draw())
    const server = client % servers
    for (const topic of own) {
      wanted[topic].set(server, (wanted[topic].get(server) ?? 0) + 1)
    }
    return [...own]
  })
  return { clients, servers, topics, subscriptions, wanted, seed }
}

/** Events, each by some client on some topic, drawn as topics are for subscriptions. */
export function* events(world, count, skew = 1) {
  const any = random(world.seed + 1)
  const draw = drawer(world.topics, skew, any)
  for (let number = 0; number < count; number++) {
    yield { client: Math.floor(any() * world.clients), topic: draw() }
  }
}

/** What becomes of events: messages into and out of NATS at most, and what each server has to do. */
export function play(world, all) {
  const perServer = () => new Float64Array(world.servers)
  const counts = {
    ...{ published: perServer(), received: perServer(), delivered: perServer() },
    ...{ intoNats: 0, outOfNats: 0 },
  }
  for (const { client, topic } of all) {
    const home = client % world.servers
    counts.published[home]++
    counts.intoNats++
    for (const [server, subscribers] of world.wanted[topic]) {
      counts.delivered[server] += subscribers
      if (server === home) continue
      counts.received[server]++
      counts.outOfNats++
    }
  }
  return counts
}

function drawer(topics, skew, any) {
  const sums = new Float64Array(topics)
  let sum = 0
  for (let topic = 0; topic < topics; topic++) {
    sum += 1 / (topic + 1) ** skew
    sums[topic] = sum
  }
  return () => {
    const at = any() * sum
    let [low, high] = [0, topics - 1]
    while (low < high) {
      const middle = (low + high) >> 1
      if (sums[middle] < at) low = middle + 1
      else high = middle
    }
    return low
  }
}
