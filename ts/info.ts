/** What a stream's two ends know of each other, as the public API says it. */
import type { ConnectionInfo } from '../index.js'
import type { NativeInfo } from '../native/binding.js'

export function connectionInfo(native: NativeInfo): ConnectionInfo {
  return {
    remoteAddress: native.remoteAddress,
    remotePort: native.remotePort,
    transport: native.transport as ConnectionInfo['transport'],
    user: native.user,
    keyFingerprint: native.keyFingerprint,
    certificate: native.certificate,
    peer: native.peer,
    target: native.target,
    sessionId: native.sessionId,
  }
}
