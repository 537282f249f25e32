// Results as Markdown that reads well in a terminal, too.
import { figuresOf } from './results.mjs'
import { medianRatio } from './stats.mjs'

/** All tables of a result. `metrics` are the modules by name. */
export function renderResult({ rows, bars }, metrics) {
  const sections = Object.entries(metrics).map(([name, metric]) => {
    const own = rows.filter((row) => row.metric === name)
    return own.length === 0 ? '' : renderMetric(metric, own)
  })
  return [...sections, renderBars(bars, rows)].filter(Boolean).join('\n\n')
}

function renderMetric({ title, about, units }, rows) {
  const names = Object.keys(units)
  const head = ['peer', ...names.map((name) => (units[name] ? `${name} [${units[name]}]` : name))]
  const body = rows.map((row) => [row.label, ...cells(row, names)])
  const problems = rows.filter(({ values }) => !values).map(reason)
  const parts = [`### ${title}`, about, table([head, ...body, ...ratios(rows, names)]), ...problems]
  return parts.join('\n\n')
}

function cells({ values, failed }, names) {
  const problem = failed ? 'FAILED' : 'skipped'
  return names.map((name) => (values ? cell(values[name]) : problem))
}

const reason = ({ label, failed, skipped }) =>
  `**${label}** ${failed ? `FAILED: ${failed}` : `skipped: ${skipped}`}`

function cell({ median, min, max, rounds }) {
  if (rounds.length === 1) return number(median)
  return `${number(median)} (${number(min)}–${number(max)})`
}

const isOurs = (peer) => /^(forward-)?alknet(-iroh)?$|^alknet-/.test(peer)

// One line for each peer that alknet's figures can be divided by.
function ratios(rows, names) {
  const all = figuresOf(rows)
  const own = rows.filter(({ peer, values }) => values && isOurs(peer))
  const others = rows.filter(({ peer, values }) => values && !peer.includes('alknet'))
  return own.flatMap((row) =>
    others.map((other) => [
      `${row.label} ÷ ${other.label}`,
      ...names.map((name) => ratio(all[name][row.peer], all[name][other.peer])),
    ]),
  )
}

function ratio(own, other) {
  const value = medianRatio(own, other)
  return Number.isFinite(value) && value > 0 ? `${number(value)} ×` : '–'
}

function renderBars(bars, rows) {
  if (bars.length === 0) return ''
  const labels = Object.fromEntries(rows.map(({ peer, label }) => [peer, label]))
  const head = ['bar', 'alknet', 'must', '', 'stretch', '']
  const body = bars.map(({ title, figure, must, stretch }) => [
    title,
    number(figure),
    ...verdict(must, labels),
    ...(stretch ? verdict(stretch, labels) : ['', '']),
  ])
  return `### Bars\n\n${table([head, ...body])}`
}

function verdict({ least, most, than, got, pass }, labels) {
  const limit = least === undefined ? `≤ ${most}` : `≥ ${least}`
  const judged = pass ? 'pass' : 'MISS'
  if (!than) return [limit, judged]
  return [
    `${limit} × ${than.map((peer) => labels[peer]).join(' and ')}`,
    `${judged}, ${number(got)} ×`,
  ]
}

/** A Markdown table with columns of equal width, all but the first to the right. */
export function table([head, ...body]) {
  const widths = head.map((_, at) => Math.max(3, ...[head, ...body].map((row) => row[at].length)))
  const line = (row) => {
    const padded = row.map((text, at) =>
      at === 0 ? text.padEnd(widths[at]) : text.padStart(widths[at]),
    )
    return `| ${padded.join(' | ')} |`
  }
  const rule = widths.map((width, at) =>
    at === 0 ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`,
  )
  return [line(head), `| ${rule.join(' | ')} |`, ...body.map(line)].join('\n')
}

function number(value) {
  if (value === 0) return '0'
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2
  return value.toFixed(digits)
}
