/**
 * What becomes of tests for which something is not there: left out, loudly, and with `CI=true` a failure.
 */
import type { SpawnSyncReturns } from 'node:child_process'

/** Something that tests need and that is not there. */
export interface Lack {
  /** A program, or what the system has to allow. */
  of: string
  why?: string
  /** The system does not let this user have it. */
  forbidden?: boolean
}

/**
 * Whether tests are left out: says for want of what. With `CI=true` they are not, and it is an error, unless the system itself forbids
 * them to this user, or `ALKNET_ALLOW_SKIP`, names with commas between, has what is lacking.
 */
export function leftOut(tests: string, lack: Lack | undefined): boolean {
  if (!lack) return false
  const why = lack.why ? ` (${lack.why})` : ''
  const allowed = (process.env.ALKNET_ALLOW_SKIP ?? '').split(',').includes(lack.of)
  if (process.env.CI === 'true' && !allowed && !lack.forbidden) {
    const how = `with CI=true it must be there, or ALKNET_ALLOW_SKIP=${lack.of} say that it cannot be`
    throw new Error(`for want of ${lack.of}${why}, '${tests}' cannot be shown: ${how}`)
  }
  console.warn(`SKIPPED for want of ${lack.of}${why}: ${tests}`)
  return true
}

/** What is lacking when a program failed that shows whether something can be done. */
export function lackOf(of: string, tried: SpawnSyncReturns<string>): Lack {
  const why = tried.error?.message ?? tried.stderr.trim()
  return { of, why, forbidden: /not permitted|permission denied/i.test(why) }
}
