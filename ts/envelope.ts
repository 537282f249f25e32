/**
 * Envelopes: what is in an event's frame, how it is read and written, and the few that are alknet's own.
 */
import { isUtf8 } from 'node:buffer'
import type { EventEnvelope } from '../index.js'
import { AlknetError } from './errors.js'

/** Nesting of a frame's JSON, the envelope included. */
const MAX_DEPTH = 64
/** A topic's length in bytes, and how many topics an end may be subscribed to. */
export const MAX_TOPIC = 256
export const MAX_SUBSCRIPTIONS = 1024

const RESERVED = '__'
const REPLACEMENT = '\ufffd'
// What an envelope needs besides its payload, and the brackets of a payload that is too deep.
const SHORTEST_TOO_DEEP = '{"id":"","type":"","payload":}'.length + 2 * MAX_DEPTH

/** Whether a type or topic is alknet's own. */
export function isReserved(type: string): boolean {
  return type.startsWith(RESERVED)
}

/** The text by which listeners know an envelope. */
export function topicOf(type: string, id: string): string {
  return id === '' ? type : `${type}:${id}`
}

/** Whether a topic is too long to be subscribed to. */
export function isTooLong(topic: string): boolean {
  return topic.length * 3 > MAX_TOPIC && Buffer.byteLength(topic) > MAX_TOPIC
}

/** The JSON of an envelope; `undefined` and what JSON has no word for become null. Throws what `JSON.stringify` throws. */
export function writeEnvelope(type: string, id: string, payload: unknown): string {
  const json = JSON.stringify(payload) ?? 'null'
  const text = `{"type":${JSON.stringify(type)},"id":${JSON.stringify(id)},"payload":${json}}`
  if (isTooDeep(text)) throw invalid(`nested deeper than ${MAX_DEPTH} levels`)
  return text
}

/** The envelope in a frame's body; throws `ERR_ALKNET_FRAME_INVALID`. Keys that an envelope has not are left out. */
export function readEnvelope(body: Buffer): EventEnvelope {
  const text = body.toString('utf8')
  // Decoding puts this character where there was no UTF-8; but it may also have been sent.
  if (text.includes(REPLACEMENT) && !isUtf8(body)) throw invalid('not UTF-8')
  if (isTooDeep(text)) throw invalid(`nested deeper than ${MAX_DEPTH} levels`)
  const value = parse(text)
  if (typeof value !== 'object' || value === null) throw invalid('not an object')
  const { type, id, payload, from, seq } = value as Partial<EventEnvelope>
  if (typeof type !== 'string') throw invalid('without a type')
  if (typeof id !== 'string') throw invalid('without an id')
  if (!Object.hasOwn(value, 'payload')) throw invalid('without a payload')
  const envelope: EventEnvelope = { type, id, payload }
  if (typeof from === 'string') envelope.from = from
  if (Number.isSafeInteger(seq)) envelope.seq = seq as number
  return envelope
}

/** The topics a control message names, in any of the shapes peers use. */
export function readTopics({ id, payload }: EventEnvelope): readonly string[] {
  if (typeof payload === 'string' && payload !== '') return [payload]
  if (typeof payload === 'object' && payload !== null) {
    const { topic, topics } = payload as { topic?: unknown; topics?: unknown }
    if (typeof topic === 'string') return [topic]
    if (Array.isArray(topics)) return topics.filter((name) => typeof name === 'string')
  }
  return id === '' ? [] : [id]
}

/** Why a frame was dropped. */
export function invalid(why: string, cause?: unknown): AlknetError {
  return new AlknetError('ERR_ALKNET_FRAME_INVALID', `an event frame is ${why}`, {
    cause,
    phase: 'stream',
  })
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw invalid('not JSON', cause)
  }
}

function isTooDeep(text: string): boolean {
  return text.length >= SHORTEST_TOO_DEEP && hasManyBrackets(text) && depthExceeds(text)
}

/** Searching is many times faster than looking at each character, and answers for nearly all events. */
function hasManyBrackets(text: string): boolean {
  let count = 0
  for (const bracket of '{[') {
    for (let at = text.indexOf(bracket); at >= 0; at = text.indexOf(bracket, at + 1)) {
      count += 1
      if (count > MAX_DEPTH) return true
    }
  }
  return false
}

function depthExceeds(text: string): boolean {
  let depth = 0
  let inString = false
  for (let at = 0; at < text.length; at += 1) {
    const char = text.charCodeAt(at)
    if (inString) {
      if (char === 0x5c) at += 1
      else if (char === 0x22) inString = false
    } else if (char === 0x22) inString = true
    else if (char === 0x7b || char === 0x5b) {
      depth += 1
      if (depth > MAX_DEPTH) return true
    } else if (char === 0x7d || char === 0x5d) depth -= 1
  }
  return false
}
