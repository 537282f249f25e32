import { prefixed } from '../lib/prefixed.mjs'
import * as rtt from './rtt.mjs'

export const { kind, title, about, units, settings, server, client } = prefixed(rtt, {
  kind: 'transports',
  prefix: 'transport_',
  title: 'Transports: round trip of 64 bytes',
})
