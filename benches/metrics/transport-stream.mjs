import { prefixed } from '../lib/prefixed.mjs'
import * as stream from './stream.mjs'

export const { kind, title, about, units, settings, server, client } = prefixed(stream, {
  kind: 'transports',
  prefix: 'transport_',
  title: 'Transports: stream throughput',
})
