/**
 * An event target's streams on a session, one after the other: a lost one is followed by another for as long as the session lives.
 */
import type { Duplex } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import type { AlknetSession } from '../index.js'
import type { Failure } from './event-link.js'

/** Between the loss of a stream, or a refusal, and the next request, ms: doubled each time. As of a session (`Reconnect`). */
const FIRST_PAUSE = 1000
const LONGEST_PAUSE = 30_000
/** A stream that lasted so long, ms, was a success: the next is asked for at once. */
const SUCCESS = 5000

export interface StreamUser {
  /** Uses the stream; resolves when it is closed. */
  use(stream: Duplex): Promise<unknown>
  /** There was no stream to be had, for this reason; attempts go on. */
  away(reason: Failure): void
}

/** Opens streams until `signal` is aborted or the session is over; resolves with why it is, when that was a failure. */
export async function keepStreams(
  session: AlknetSession,
  target: string | undefined,
  user: StreamUser,
  signal: AbortSignal,
): Promise<Failure | undefined> {
  let pause = 0
  let failure: Failure | undefined
  const note = (error?: Failure) => {
    failure = error
  }
  session.once('close', note)
  try {
    while (!signal.aborted && !session.closed) {
      const since = Date.now()
      try {
        const stream = await session.open(target, { signal })
        await user.use(stream)
      } catch (error) {
        const reason = error as Failure
        if (signal.aborted || session.closed) break
        // The session comes back by itself, and `open()` waits for it.
        if (reason.code === 'ERR_ALKNET_RECONNECTING') continue
        user.away(reason)
      }
      pause = Date.now() - since >= SUCCESS ? 0 : Math.min(2 * pause || FIRST_PAUSE, LONGEST_PAUSE)
      // A session that is lost is a reason not to wait: the next one has its own pauses.
      if (pause > 0 && session.up) await sleep(pause, undefined, { signal }).catch(() => {})
    }
    return failure
  } finally {
    session.off('close', note)
  }
}
