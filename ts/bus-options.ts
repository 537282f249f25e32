/** The options of a server's bus, from what people pass to what the addon takes. */
import type * as contract from '../index.js'
import type { NativeBusOptions } from '../native/binding.js'
import { invalidType } from './errors.js'
import { defined, integer, text } from './options.js'

const MOST = 0xffff_ffff
const LARGEST_FRAME = 64 * 1024 * 1024

/** Checks `options.bus` of `serve()`. */
export function busOptions(
  given: boolean | contract.AlknetBusOptions | undefined,
): NativeBusOptions | undefined {
  if (given === undefined || given === false) return undefined
  if (given === true) return {}
  const name = 'options.bus'
  if (typeof given !== 'object' || given === null) {
    throw invalidType(name, 'a boolean or an object', given)
  }
  const { authorize } = given
  if (authorize !== undefined && typeof authorize !== 'function') {
    throw invalidType(`${name}.authorize`, 'a function', authorize)
  }
  return defined<NativeBusOptions>({
    maxFrame: integer(`${name}.maxFrame`, given.maxFrame, 1, LARGEST_FRAME),
    maxQueue: integer(`${name}.maxQueue`, given.maxQueue, 1, MOST),
    maxSubscriptions: integer(`${name}.maxSubscriptions`, given.maxSubscriptions, 1, MOST),
    maxRate: integer(`${name}.maxRate`, given.maxRate, 1, MOST),
    nats: texts(`${name}.nats`, given.nats),
    durable: texts(`${name}.durable`, given.durable),
    asks: authorize !== undefined,
  })
}

function texts(name: string, value: string | readonly string[] | undefined) {
  if (value === undefined) return undefined
  const list = typeof value === 'string' ? [value] : value
  if (!Array.isArray(list)) throw invalidType(name, 'a string or an array of them', value)
  return list.map((address) => text(name, address) ?? '')
}
