/**
 * How far a target has heard topics whose events a bus keeps: where it goes on after a loss.
 */
import { AlknetError } from './errors.js'

/** Most targets have no such topic: what is needed for it is made when there is one. */
export class Positions {
  /** Number of the last event heard, or of the one before the first to be heard. */
  #heard: Map<string, number> | undefined
  /** What was asked for on the present stream and not answered yet. */
  #asked: Map<string, number> | undefined

  /** Where a subscription to `topic` begins, once it is made. */
  begin(topic: string, since: number): void {
    this.heard(topic, since)
  }

  /** What a subscription to `topic` asks for. */
  ask(topic: string): number | undefined {
    const since = this.#heard?.get(topic)
    if (since === undefined) return undefined
    this.#asked ??= new Map()
    this.#asked.set(topic, since)
    return since
  }

  /** The bus sends what comes after number `seq`. Answers what is wrong with that. */
  answered(topic: string, seq: number | undefined): AlknetError | undefined {
    const asked = this.#asked?.get(topic)
    this.#asked?.delete(topic)
    if (seq === undefined) return asked === undefined ? undefined : lost(topic, asked, 'nothing')
    if (asked === undefined) this.heard(topic, Math.max(seq, this.#heard?.get(topic) ?? 0))
    else this.heard(topic, seq)
    // To ask for all there is, 0, is to miss nothing.
    return asked && seq !== asked ? lost(topic, asked, `${seq + 1} on`) : undefined
  }

  heard(topic: string, seq: number): void {
    this.#heard ??= new Map()
    this.#heard.set(topic, seq)
  }

  forget(topic: string): void {
    this.#heard?.delete(topic)
    this.#asked?.delete(topic)
  }

  /** Another stream takes the place of the one that all was asked on. */
  detach(): void {
    this.#asked = undefined
  }
}

function lost(topic: string, asked: number, kept: string): AlknetError {
  const message = `events of '${topic}' after ${asked} are missing: the bus keeps ${kept}`
  return new AlknetError('ENODATA', message, { phase: 'stream' })
}
