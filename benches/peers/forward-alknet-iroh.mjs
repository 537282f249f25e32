// `alknet connect -L` at `alknet serve`, by iroh: straight to the peer's address, no relay.
import { startAlknet } from '../lib/alknet-forward.mjs'

export const start = (context, target) =>
  startAlknet(context, target, { serve: ['--transport', 'iroh'] })
