// What forwarders written in JavaScript do with two streams.
import { pipeline } from 'node:stream'

/** Both ways, each end passed on; a failure of either ends both. */
export function pipe(one, other) {
  pipeline(one, other, () => {})
  pipeline(other, one, () => {})
}
