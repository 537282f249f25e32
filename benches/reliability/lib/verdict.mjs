// Figures against their limits.
import { known } from './known.mjs'

/**
 * `pass`, `MISS`, `KNOWN MISS`, or nothing for a figure without a limit. A known miss has a bound of its own: beyond it, it is a miss.
 */
export function judge(id, { name, value, most, least }) {
  if (most === undefined && least === undefined) return undefined
  if (most === undefined ? value >= least : value <= most) return 'pass'
  const excuse = known[id]?.[name]
  const holds = excuse && (most === undefined ? value >= excuse.atLeast : value <= excuse.atMost)
  return holds ? 'KNOWN MISS' : 'MISS'
}

/** Why a known miss is one. */
export const reason = (id, { name }) => known[id]?.[name]?.reason

/** A figure and its verdict, as one line. */
export function sentence(id, figure) {
  const verdict = figure.verdict ? `: ${figure.verdict}` : ''
  const why = figure.verdict === 'KNOWN MISS' ? ` (${reason(id, figure)})` : ''
  return `${id.toUpperCase()} ${figure.what}: ${amount(figure.value, figure.unit)}${limitOf(figure)}${verdict}${why}`
}

/** `412 MB`, `0.31 ms`, `12,345`. */
export function amount(value, unit = '') {
  const size = Math.abs(value)
  const digits = Number.isInteger(value) || size >= 100 ? 0 : size >= 10 ? 1 : 2
  const text = value.toLocaleString('en-US', {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  })
  return unit ? `${text} ${unit}` : text
}

function limitOf({ most, least, unit }) {
  if (most !== undefined) return `, limit ${amount(most, unit)}`
  return least === undefined ? '' : `, at least ${amount(least, unit)}`
}
