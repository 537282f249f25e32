/**
 * What may be asked of an event target: its options, topics, and the two kinds of `detail`.
 */
import type { AlknetEventTargetOptions, EventEnvelope } from '../index.js'
import { isReserved, isTooLong, MAX_TOPIC, topicOf } from './envelope.js'
import { invalidType, invalidValue } from './errors.js'
import { checkDuplex } from './frame.js'
import { maxFrameOf } from './frame-codec.js'
import { EVENTS, refuseUnknown } from './known.js'
import { defined, text } from './options.js'

const DEFAULT_MAX_BUFFERED = 4 * 1024 * 1024
const DETAILS = ['payload', 'envelope'] as const
const POLICIES = ['error', 'drop-oldest', 'drop-newest', 'disconnect'] as const

const OFFLINE = ['queue', 'refuse'] as const

/** The options with nothing left out; a stream or a session. */
export type Settings = Required<Omit<AlknetEventTargetOptions, 'stream' | 'session' | 'target'>> &
  Pick<AlknetEventTargetOptions, 'stream' | 'session' | 'target'>

/** Fills in and checks the options of `createAlknetEventTarget()`. */
export function settingsOf(options: AlknetEventTargetOptions): Settings {
  if (typeof options !== 'object' || options === null) {
    throw invalidType('options', 'an object', options)
  }
  refuseUnknown('options', options, EVENTS)
  const { stream, session, target, detail = 'payload', onOverflow = 'error' } = options
  const { offline = 'queue', echo = true } = options
  const { maxBuffered = DEFAULT_MAX_BUFFERED } = options
  if (session === undefined) checkDuplex('options.stream', stream)
  else checkSession(session, stream)
  if (!DETAILS.includes(detail)) throw invalidValue('detail', `one of ${DETAILS.join(', ')}`)
  if (!POLICIES.includes(onOverflow)) {
    throw invalidValue('onOverflow', `one of ${POLICIES.join(', ')}`)
  }
  if (!OFFLINE.includes(offline)) throw invalidValue('offline', `one of ${OFFLINE.join(', ')}`)
  if (typeof echo !== 'boolean') throw invalidType('echo', 'a boolean', echo)
  if (!Number.isSafeInteger(maxBuffered) || maxBuffered < 0) {
    throw invalidValue('maxBuffered', 'a whole number of bytes')
  }
  const bounds = { maxFrame: maxFrameOf(options), maxBuffered, onOverflow, offline }
  const given = defined({ stream, session, target: text('options.target', target) })
  return { ...given, ...bounds, detail, echo }
}

function checkSession(session: unknown, stream: unknown): void {
  const { open } = (session ?? {}) as { open?: unknown }
  if (typeof open !== 'function') throw invalidType('options.session', 'an AlknetSession', session)
  if (stream !== undefined) throw invalidValue('options', 'given a stream or a session, not both')
}

/** Refuses a type or topic that cannot travel. */
export function checkTopic(topic: string): void {
  if (isReserved(topic)) {
    throw invalidValue(
      'the type of an event',
      "one that does not start with '__', which is alknet's own",
    )
  }
  if (isTooLong(topic)) throw invalidValue('the type of an event', `at most ${MAX_TOPIC} bytes`)
}

/** The detail of an event in a target with `detail: 'envelope'`. */
export function envelopeOf(eventType: string, detail: unknown): EventEnvelope {
  if (isEnvelope(detail)) {
    const { type, id } = detail
    checkTopic(type)
    if (eventType === type || eventType === topicOf(type, id)) return detail
    throw invalidValue(
      'the type of an event',
      "its envelope's type, or that and its id with ':' between",
    )
  }
  throw invalidType(
    'the detail of an event',
    "an envelope { type, id, payload }, as detail is 'envelope'",
    detail,
  )
}

/** Refuses the detail that shows that a target should have been made with `detail: 'envelope'`. */
export function refuseEnvelope(eventType: string, detail: unknown): void {
  if (!isEnvelope(detail)) return
  if (eventType !== detail.type && eventType !== topicOf(detail.type, detail.id)) return
  const remedy = "use createAlknetEventTarget({ detail: 'envelope' }) to send envelopes"
  throw invalidValue(
    'the detail of an event',
    `the payload alone, not an envelope of its own type: ${remedy}`,
  )
}

function isEnvelope(value: unknown): value is EventEnvelope {
  if (typeof value !== 'object' || value === null) return false
  const { type, id } = value as Partial<EventEnvelope>
  return typeof type === 'string' && typeof id === 'string' && 'payload' in value
}
