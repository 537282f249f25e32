/**
 * An operation of the core as a promise that can be aborted.
 */
import type { NativeError } from '../native/binding.js'
import { Slot } from './doorbell.js'
import { abortError, fromNative } from './errors.js'

/** What the addon's pending operations have in common. */
interface Pending<Native> {
  readonly id: number
  cancel(): void
  failure(): NativeError | null
  take(): Native
}

/**
 * Starts an operation and resolves with what `adopt` makes of its result. When `signal` is aborted first, the operation is
 * undone and the promise rejects with an `AbortError`; an already aborted signal starts nothing.
 */
export function settle<Native, Result>(
  start: () => Pending<Native>,
  adopt: (native: Native) => Result,
  signal: AbortSignal | undefined,
): Promise<Result> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) throw abortError(signal)
    const pending = start()
    const slot = new Slot(pending.id, () => {
      finish()
      const failure = pending.failure()
      if (failure !== null) return reject(fromNative(failure))
      try {
        resolve(adopt(pending.take()))
      } catch (error) {
        reject(error)
      }
    })
    const abort = () => {
      finish()
      pending.cancel()
      if (signal !== undefined) reject(abortError(signal))
    }
    const finish = () => {
      slot.remove()
      signal?.removeEventListener('abort', abort)
    }
    signal?.addEventListener('abort', abort, { once: true })
  })
}
