// The command line of `npm run reliability`.
import { randomInt } from 'node:crypto'
import { parseArgs } from 'node:util'
import { ids } from './list.mjs'

export const usage = `node benches/reliability/run.mjs [options]

  --quick          smaller numbers: four minutes instead of three quarters of an hour
  --only LIST      ${ids.join(',')}
  --seed N         what is random repeats with it (default: a new one, printed)
  --no-build       take alknet as it was last built
  --help`

/** What was asked for, checked. Throws with a line for the user. */
export function readOptions(args) {
  const { values } = parseArgs({
    args,
    options: {
      quick: { type: 'boolean', default: false },
      only: { type: 'string' },
      seed: { type: 'string' },
      'no-build': { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  const seed = values.seed === undefined ? randomInt(2 ** 31) : Number(values.seed)
  if (!Number.isInteger(seed)) throw new Error('--seed takes a whole number')
  const wanted = values.only?.toLowerCase().split(',') ?? ids
  const unknown = wanted.find((id) => !ids.includes(id))
  if (unknown !== undefined) throw new Error(`--only: ${unknown} is none of ${ids.join(', ')}`)
  const only = ids.filter((id) => wanted.includes(id))
  return { quick: values.quick, help: values.help, build: !values['no-build'], seed, only }
}
