import { prefixed } from '../lib/prefixed.mjs'
import * as rtt from './forward-rtt.mjs'

export const { kind, title, about, units, settings, server, client } = prefixed(rtt, {
  kind: 'iroh',
  prefix: 'iroh_',
  title: 'Forward by iroh: round trip of 64 bytes',
})
