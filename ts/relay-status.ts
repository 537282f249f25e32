/** How the relay of a server that listens by iroh stands, as the public API says it. */
import type { AlknetRelayStatus } from '../index.js'
import type { NativeRelayStatus } from '../native/binding.js'
import { fromNative } from './errors.js'

export function relayStatus(native: NativeRelayStatus | null): AlknetRelayStatus | undefined {
  if (native === null) return undefined
  const { url, connected, rebuilt, error } = native
  return { url, connected, rebuilt, error: error == null ? undefined : fromNative(error) }
}
