/** How a certificate by ACME stands, as the public API says it. */
import type { AlknetAcmeStatus } from '../index.js'
import type { NativeAcmeStatus } from '../native/binding.js'
import { fromNative } from './errors.js'

export function acmeStatus(native: NativeAcmeStatus | null): AlknetAcmeStatus | undefined {
  if (native === null) return undefined
  const date = (millis: number | undefined) => (millis == null ? undefined : new Date(millis))
  return {
    domains: native.domains,
    validUntil: date(native.validUntil),
    nextAttempt: date(native.nextAttempt),
    error: native.error == null ? undefined : fromNative(native.error),
  }
}
