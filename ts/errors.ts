/**
 * Everything a caller can be rejected with: `AlknetError`, `AbortError` and `TypeError`s of bad arguments.
 */
import type { AlknetErrorDetails, AlknetPhase } from '../index.js'
import type { NativeError } from '../native/binding.js'

type Reason = NonNullable<AlknetErrorDetails['reason']>

const PHASES: readonly AlknetPhase[] = [
  'config',
  'dns',
  'tcp',
  'tls',
  'upgrade',
  'kex',
  'hostkey',
  'auth',
  'channel',
  'stream',
  'listen',
]
const REASONS: readonly Reason[] = [
  'prohibited',
  'connect-failed',
  'unknown-type',
  'resource-shortage',
]
const DETAILS = [
  'phase',
  'hint',
  'syscall',
  'address',
  'port',
  'fingerprint',
  'hop',
  'reason',
] as const

/** A failure of alknet. `code` is for programs and stable, `message` is for people and may change. */
export class AlknetError extends Error {
  readonly code: string
  declare readonly phase?: AlknetPhase
  declare readonly hint?: string
  declare readonly syscall?: string
  declare readonly address?: string
  declare readonly port?: number
  declare readonly fingerprint?: string
  declare readonly hop?: string
  declare readonly reason?: Reason

  static {
    // On the prototype, so that the stack's first line has it and no error carries it as a property.
    Object.defineProperty(AlknetError.prototype, 'name', {
      value: 'AlknetError',
      writable: true,
      configurable: true,
    })
  }

  constructor(code: string, message: string, details: AlknetErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause })
    this.code = code
    for (const name of DETAILS) {
      if (details[name] !== undefined) Object.assign(this, { [name]: details[name] })
    }
  }
}

/** The error a caller sees for one the addon reports. */
export function fromNative(native: NativeError): AlknetError {
  const { code, message, phase, reason, causeCode, causeMessage, ...facts } = native
  const details: AlknetErrorDetails = {}
  for (const name of ['hint', 'syscall', 'address', 'port', 'fingerprint', 'hop'] as const) {
    if (facts[name] != null) Object.assign(details, { [name]: facts[name] })
  }
  const knownPhase = PHASES.find((known) => known === phase)
  if (knownPhase !== undefined) details.phase = knownPhase
  const knownReason = REASONS.find((known) => known === reason)
  if (knownReason !== undefined) details.reason = knownReason
  if (causeMessage != null || causeCode != null) {
    details.cause = withCode(new Error(causeMessage ?? causeCode ?? ''), causeCode)
  }
  return new AlknetError(code, message, details)
}

/** What an aborted operation rejects with, as Node's own do: `code` `'ABORT_ERR'`, `cause` the reason. */
export function abortError(signal: AbortSignal): Error {
  const error = new Error('The operation was aborted', { cause: signal.reason })
  Object.defineProperty(error, 'name', { value: 'AbortError', writable: true, configurable: true })
  return withCode(error, 'ABORT_ERR')
}

/** An argument of the wrong type. The value itself is not shown: it may be a secret. */
export function invalidType(name: string, expected: string, actual: unknown): TypeError {
  const message = `${name} must be ${expected}, but is ${actual === null ? 'null' : typeof actual}`
  return withCode(new TypeError(message), 'ERR_INVALID_ARG_TYPE')
}

/** An argument of the right type that is not possible. */
export function invalidValue(name: string, expected: string): TypeError {
  return withCode(new TypeError(`${name} must be ${expected}`), 'ERR_INVALID_ARG_VALUE')
}

function withCode<E extends Error>(error: E, code: string | undefined): E {
  return code == null ? error : Object.assign(error, { code })
}
