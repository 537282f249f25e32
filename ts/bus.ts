/**
 * A server's bus: its event target, its counters, and the program's word on what clients may do.
 */
import type * as contract from '../index.js'
import type { NativeBus } from '../native/binding.js'
import { createAlknetEventTarget } from './event-target.js'
import { connectionInfo } from './info.js'
import { AlknetStream } from './stream.js'

/** What a server of the addon and a bus of its own have in common. */
type Native = Pick<NativeBus, 'question' | 'answer'> & {
  bus(): ReturnType<NativeBus['bus']> | null
  busMetrics(): contract.AlknetBusMetrics | null
}

/** The bus as the hosting program has it. */
export class ServerBus {
  readonly #native: Native
  readonly #authorize: contract.AlknetBusOptions['authorize']
  #target: contract.AlknetEventTarget | undefined

  constructor(native: Native, options: boolean | contract.AlknetBusOptions | undefined) {
    this.#native = native
    this.#authorize = typeof options === 'object' ? options.authorize : undefined
  }

  /** An event target, the same at each call; nothing without a bus. */
  get target(): contract.AlknetEventTarget | undefined {
    if (this.#target !== undefined) return this.#target
    const stream = this.#native.bus()
    if (stream === null) return undefined
    // The server keeps the process alive, not this.
    this.#target = createAlknetEventTarget({ stream: new AlknetStream(stream).unref() })
    return this.#target
  }

  metrics(): contract.AlknetBusMetrics | undefined {
    return this.#native.busMetrics() ?? undefined
  }

  /** Answers what clients wait for. */
  answerAll(): void {
    for (;;) {
      const question = this.#native.question()
      if (question === null) return
      const { id, info, action, topic } = question
      const ask = async () =>
        this.#authorize?.(connectionInfo(info), action as contract.AlknetBusAction, topic)
      const answer = (may: unknown) => this.#native.answer(id, may === true)
      ask().then(answer, (error: unknown) => {
        answer(false)
        throw error
      })
    }
  }

  /** Ends the target with the server. */
  close(): void {
    void this.#target?.close()
  }
}
