/**
 * Who is at the other end of a stream, where that is known from the log-in: what a server's events are stamped with.
 */
const senders = new WeakMap<object, string>()

/** Notes whose key opened `stream`. */
export function setSender(stream: object, keyFingerprint: string): void {
  senders.set(stream, keyFingerprint)
}

/** Whose key opened `stream`, if it was accepted by a server of ours. */
export function senderOf(stream: object): string | undefined {
  return senders.get(stream)
}
