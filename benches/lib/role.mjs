// One process of a forwarder that is written in JavaScript: what its peer's `roles` say, until it is killed.
import { loadPeer } from './registry.mjs'

const { peer, name, task } = JSON.parse(process.env.ALKNET_ROLE)
const { roles } = await loadPeer(peer)
process.stdout.write(`${JSON.stringify({ ready: await roles[name](task) })}\n`)
