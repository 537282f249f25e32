// From single measurements to the result of a run.
import { judge } from './bars.mjs'
import { summary } from './stats.mjs'

/** Collects what the rounds give and turns it into plain data. */
export class Results {
  #rows = new Map()

  /** The row of a peer in a metric; its `problem` is what kept it from being measured. */
  row(metric, peer, { label } = {}) {
    const key = `${metric} ${peer}`
    if (!this.#rows.has(key)) this.#rows.set(key, { metric, peer, label, rounds: [] })
    return this.#rows.get(key)
  }

  get failed() {
    return [...this.#rows.values()].some(({ failed }) => failed)
  }

  toJSON() {
    const rows = [...this.#rows.values()].map(({ rounds, ...row }) => ({
      ...row,
      ...(rounds.length > 0 && !row.failed && { values: summarise(rounds) }),
    }))
    return { rows, bars: judge(figuresOf(rows)) }
  }
}

function summarise(rounds) {
  const names = Object.keys(rounds[0])
  return Object.fromEntries(
    names.map((name) => [name, summary(rounds.map((values) => values[name]))]),
  )
}

/** `{ value: { peer: [one number per round] } }` */
export function figuresOf(rows) {
  const all = {}
  for (const { peer, values = {} } of rows) {
    for (const [name, { rounds }] of Object.entries(values)) {
      all[name] ??= {}
      all[name][peer] = rounds
    }
  }
  return all
}
