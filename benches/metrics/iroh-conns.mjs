import { prefixed } from '../lib/prefixed.mjs'
import * as conns from './forward-conns.mjs'

export const { kind, title, about, units, settings, server, client } = prefixed(conns, {
  kind: 'iroh',
  prefix: 'iroh_',
  title: 'Forward by iroh: new connections',
})
