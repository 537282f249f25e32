import { growthPerStream } from './idle.mjs'

export { server } from './idle.mjs'

export const title = 'Idle streams, ten sessions'
export const about = 'The same with 10 sessions of 1000 streams, for peers that multiplex.'
export const units = { idle10_KiB_per_stream: 'KiB' }
export const settings = {
  full: { sessions: 10, streams: 1000 },
  quick: { sessions: 10, streams: 200 },
}
export const kind = 'multiplexing'

export async function client(kit) {
  const { server, client } = await growthPerStream(kit)
  return { idle10_KiB_per_stream: server + client }
}
