import { receive, send } from '../lib/io.mjs'

export const title = 'Stream throughput'
export const about =
  '64 KiB writes under backpressure on one stream, counted and checked at the receiver; MB = 10^6 bytes; CPU of both ends.'
export const units = {
  down_MBps: 'MB/s',
  up_MBps: 'MB/s',
  down_cpu_ms_per_MB: 'ms/MB',
  up_cpu_ms_per_MB: 'ms/MB',
}
export const settings = { full: { ms: 2000, warmUp: 500 }, quick: { ms: 500, warmUp: 200 } }
export const kind = 'streams'

const serverSide = { down: send, up: receive }
const clientSide = { down: receive, up: send }

export async function server({ peer, context }) {
  let onStream
  let result
  const { address } = await peer.listen(context, (stream) => onStream(stream))
  const expect = (direction, ms) => {
    result = new Promise((resolve) => {
      onStream = (stream) => resolve(serverSide[direction](stream, ms))
    })
  }
  return { address, calls: { expect, result: () => result } }
}

export async function client(kit) {
  const session = await kit.peer.openSession(kit.context, kit.address)
  const { ms, warmUp } = kit.settings
  const values = {}
  for (const direction of ['down', 'up']) {
    await transfer(kit, session, direction, warmUp)
    const { rate, cost } = await transfer(kit, session, direction, ms)
    values[`${direction}_MBps`] = rate
    values[`${direction}_cpu_ms_per_MB`] = cost
  }
  return values
}

async function transfer({ remote, bothEnds }, session, direction, ms) {
  await remote('expect', direction, ms)
  const before = await bothEnds()
  const stream = await session.open()
  const here = await clientSide[direction](stream, ms)
  const there = await remote('result')
  const after = await bothEnds()
  if (here.bytes !== there.bytes) {
    throw new Error(`${direction}: the ends counted ${here.bytes} and ${there.bytes} bytes`)
  }
  const megabytes = here.bytes / 1e6
  return {
    rate: megabytes / (here.seconds ?? there.seconds),
    cost: (cpu(after) - cpu(before)) / megabytes,
  }
}

const cpu = ({ server, client }) => server.cpu + client.cpu
