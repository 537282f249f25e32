// `alknet connect -L` at `alknet serve`.
import { startAlknet } from '../lib/alknet-forward.mjs'

export const start = startAlknet
