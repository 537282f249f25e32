/** The bounds of a server, from what people pass to what the addon takes. */
import type { AlknetLimits, AlknetPenalties } from '../index.js'
import type { NativeLimits, NativePenalties } from '../native/binding.js'
import { invalidType } from './errors.js'
import { refuseUnknown } from './known.js'
import { defined, integer, milliseconds, object, text } from './options.js'

const MOST = 0xffff_ffff
const LONGEST = 0x7fff_ffff

const counts = [
  'maxAuthAttempts',
  'maxOfferedKeys',
  'maxUnauthenticated',
  'earlyDrop',
  'maxUnauthenticatedPerSource',
  'maxHandshakesPerSource',
  'maxConnectionsPerSource',
  'maxSessions',
  'maxSessionsPerKey',
  'maxChannels',
  'maxChannelsPerSession',
  'maxPending',
  'maxPendingPerSession',
  'maxRefusedOpens',
  'maxRequests',
] as const

const times = ['authFailed', 'noAuth', 'timedOut', 'malformed', 'threshold', 'longest'] as const

/** Checks `options.limits`. */
export function limits(value: AlknetLimits | undefined): NativeLimits | undefined {
  const given = object('options.limits', value)
  if (given === undefined) return undefined
  refuseUnknown('options.limits', given, [
    ...counts,
    'loginTimeout',
    'relayTimeout',
    'penalties',
    'exempt',
  ])
  const count = (name: (typeof counts)[number]) =>
    [name, integer(`options.limits.${name}`, given[name], 1, MOST)] as const
  return defined<NativeLimits>({
    ...Object.fromEntries(counts.map(count)),
    loginTimeout: milliseconds('options.limits.loginTimeout', given.loginTimeout),
    relayTimeout: milliseconds('options.limits.relayTimeout', given.relayTimeout),
    ...penalties(given.penalties),
    exempt: exempt(given.exempt),
  })
}

function exempt(value: readonly string[] | undefined): string[] | undefined {
  if (value === undefined) return undefined
  if (!Array.isArray(value)) throw invalidType('options.limits.exempt', 'an array', value)
  return value.map((entry) => text('options.limits.exempt', entry) ?? '')
}

function penalties(value: false | AlknetPenalties | undefined) {
  if (value === false) return { hasPenalties: false }
  if (value === undefined) return {}
  if (typeof value !== 'object' || value === null) {
    throw invalidType('options.limits.penalties', 'false or an object', value)
  }
  refuseUnknown('options.limits.penalties', value, times)
  // A penalty of 0 is none for that offence.
  const time = (name: (typeof times)[number]) =>
    [name, integer(`options.limits.penalties.${name}`, value[name], 0, LONGEST)] as const
  return { penalties: defined<NativePenalties>(Object.fromEntries(times.map(time))) }
}
