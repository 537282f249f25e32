import { prefixed } from '../lib/prefixed.mjs'
import * as idle from './forward-idle.mjs'

export const { kind, title, about, units, settings, server, client } = prefixed(idle, {
  kind: 'iroh',
  prefix: 'iroh_',
  title: 'Forward by iroh: idle connections',
})
