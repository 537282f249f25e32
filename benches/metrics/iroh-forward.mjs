import { prefixed } from '../lib/prefixed.mjs'
import * as forward from './forward.mjs'

export const { kind, title, about, units, settings, server, client } = prefixed(forward, {
  kind: 'iroh',
  prefix: 'iroh_',
  title: 'Forward by iroh: throughput',
})
