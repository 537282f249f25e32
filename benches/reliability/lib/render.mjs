// A run as Markdown that reads well in a terminal, too.
import { table } from '../../lib/table.mjs'
import { amount, reason } from './verdict.mjs'

export function renderRun({ scripts }) {
  const head = ['figure', 'value', 'limit', 'verdict']
  const body = scripts.flatMap(({ id, title, failed, figures }) => [
    ...figures.map((figure) => row(id, figure)),
    ...(failed ? [[`${id.toUpperCase()} ${title}`, 'FAILED', '', 'MISS']] : []),
  ])
  const done = scripts.map(({ id, what }) => `- ${id.toUpperCase()}: ${what}`)
  return [table([head, ...body]), ...reasons(scripts), `What was run:\n\n${done.join('\n')}`].join(
    '\n\n',
  )
}

function row(id, figure) {
  const { what, value, unit, most, least, verdict = '' } = figure
  const limit = most !== undefined ? `≤ ${amount(most, unit)}` : limitBelow(least, unit)
  return [`${id.toUpperCase()} ${what}`, amount(value, unit), limit, verdict]
}

const limitBelow = (least, unit) => (least === undefined ? '' : `≥ ${amount(least, unit)}`)

function reasons(scripts) {
  const missed = scripts.flatMap(({ id, figures }) =>
    figures
      .filter(({ verdict }) => verdict === 'KNOWN MISS')
      .map((figure) => `- ${id.toUpperCase()} ${figure.what}: ${reason(id, figure)}.`),
  )
  return missed.length > 0 ? [`Known misses:\n\n${missed.join('\n')}`] : []
}
