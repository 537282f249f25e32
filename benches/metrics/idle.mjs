import { greet, greeted } from '../lib/io.mjs'

export const title = 'Idle streams'
export const about =
  '1000 idle streams on one session (or 1000 connections): growth of resident memory of both ends after gc, per stream, the session included.'
export const units = {
  idle_KiB_per_stream: 'KiB',
  idle_server_KiB: 'KiB',
  idle_client_KiB: 'KiB',
}
const settingsOfOne = { sessions: 1, streams: 1000 }
export const settings = { full: settingsOfOne, quick: settingsOfOne }
export const kind = 'streams'

const WARM_UP = 20

export const server = ({ peer, context }) => peer.listen(context, greet)

export async function client(kit) {
  const { server, client } = await growthPerStream(kit)
  return {
    idle_KiB_per_stream: server + client,
    idle_server_KiB: server,
    idle_client_KiB: client,
  }
}

/** KiB per stream of either end. */
export async function growthPerStream({ peer, context, address, settings, bothEnds }) {
  const { sessions, streams } = settings
  const held = [await openMany(peer, context, address, WARM_UP)]
  const before = await bothEnds({ gc: true })
  for (let turn = 0; turn < sessions; turn++) {
    held.push(await openMany(peer, context, address, streams))
  }
  const after = await bothEnds({ gc: true })
  const open = held.flatMap(({ all }) => all).filter((stream) => !stream.destroyed)
  if (open.length !== WARM_UP + sessions * streams) throw new Error('idle streams were closed')
  const growth = (end) => (after[end].rss - before[end].rss) / 1024 / (sessions * streams)
  return { server: growth('server'), client: growth('client') }
}

async function openMany(peer, context, address, count) {
  const session = await peer.openSession(context, address)
  const all = []
  while (all.length < count) all.push(await greeted(await session.open()))
  return { session, all }
}
