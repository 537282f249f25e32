// The page of a tunnel's host: what its reader may reach. Plain modules, as they are served.
import { closeTerminal, isOpen, openTerminal } from './terminal.js'

/** How often the list is asked for while the page is seen, in milliseconds. */
const EVERY = 2000

const at = (id) => document.getElementById(id)

/** In this tab alone: it is in no address, and no other page has it. */
let token = sessionStorage.getItem('token') ?? ''
let shown = ''
let asking = false

function say(text, bad = false) {
  const line = at('say')
  // What has not changed is not read out again.
  if (line.textContent !== text) line.textContent = text
  line.classList.toggle('bad', bad)
}

async function list() {
  if (asking) return
  asking = true
  try {
    await ask()
  } catch {
    say('The host does not answer. Trying again.', true)
  } finally {
    asking = false
  }
}

/** Anew when another token was given, or this one forgotten, before the host has answered. */
async function ask() {
  const used = token
  const headers = used ? { Authorization: `Bearer ${used}` } : {}
  const answer = await fetch('/api/tasks', { headers, cache: 'no-store' })
  const { tasks } = answer.ok ? await answer.json() : {}
  if (used !== token) return ask()
  if (answer.status === 401) return login()
  if (!answer.ok) return say(`The host answered ${answer.status}.`, true)
  const entered = at('tasks').hidden && !at('login').hidden
  at('login').hidden = true
  at('tasks').hidden = false
  at('leave').hidden = token === ''
  render(tasks)
  say(tasks.length === 1 ? '1 task' : `${tasks.length} tasks`)
  if (entered) at('tasks').focus({ preventScroll: true })
}

/** Asks for a token. One that was shown was not accepted, or is not any more. */
function login() {
  const first = at('login').hidden
  if (token) say('This token was not accepted.', true)
  else if (first) say('')
  forget()
  if (first || document.activeElement === document.body) at('token').focus()
}

function forget() {
  token = ''
  sessionStorage.removeItem('token')
  closeTerminal()
  at('login').hidden = false
  at('tasks').hidden = true
  at('leave').hidden = true
  at('rows').replaceChildren()
  shown = ''
}

function render(tasks) {
  // A row that stays the same keeps the focus and is not read out again.
  const now = JSON.stringify(tasks)
  if (now === shown) return
  shown = now
  const rows = at('rows')
  at('none').hidden = tasks.length > 0
  rows.parentElement.hidden = tasks.length === 0
  const old = new Map([...rows.children].map((row) => [row.dataset.task, row]))
  tasks.forEach((task, i) => {
    const row = old.get(task.task_id) ?? makeRow(task.task_id)
    old.delete(task.task_id)
    fill(row, task)
    if (rows.children[i] !== row) rows.insertBefore(row, rows.children[i] ?? null)
  })
  for (const row of old.values()) row.remove()
}

const LABELS = ['Task', 'State', 'Node', 'Sessions', 'To it', 'From it', '']

function makeRow(id) {
  const row = document.createElement('tr')
  row.dataset.task = id
  // Roles are said, as a table that is shown as cards on a narrow screen is none for some readers.
  row.setAttribute('role', 'row')
  LABELS.forEach((label, i) => {
    const cell = document.createElement(i === 0 ? 'th' : 'td')
    cell.setAttribute('role', i === 0 ? 'rowheader' : 'cell')
    if (i === 0) cell.scope = 'row'
    if (i > 2 && i < 6) cell.className = 'number'
    cell.dataset.label = label
    row.append(cell)
  })
  const button = document.createElement('button')
  button.type = 'button'
  button.textContent = 'Terminal'
  button.setAttribute('aria-label', `Terminal of task ${id}`)
  // Disabled, it would lose the focus when an agent goes for a moment.
  button.addEventListener('click', () => {
    if (button.getAttribute('aria-disabled') === 'true') return
    openTerminal(id, token, list)
  })
  row.lastChild.append(button)
  return row
}

function fill(row, task) {
  const [head, state, node, sessions, sent, received, action] = row.children
  head.replaceChildren(task.task_id, ' ', span('kind', task.task_type))
  const runs = task.status === 'running'
  const away = runs && task.agent === false
  const look = away ? 'away' : runs ? 'running' : 'over'
  state.replaceChildren(span(look, away ? 'no agent' : task.status))
  node.textContent = task.assigned_node ?? '–'
  sessions.textContent = `${task.sessions} of ${task.sessions_total}`
  sent.textContent = bytes(task.bytes_up)
  received.textContent = bytes(task.bytes_down)
  action.firstChild.setAttribute('aria-disabled', `${!task.terminal}`)
}

function span(look, text) {
  const part = document.createElement('span')
  part.className = look
  part.textContent = text
  return part
}

function bytes(count) {
  const units = ['B', 'kB', 'MB', 'GB', 'TB']
  let value = count
  let unit = 0
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000
    unit += 1
  }
  return `${unit === 0 || value >= 99.95 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`
}

at('login').addEventListener('submit', (event) => {
  event.preventDefault()
  token = at('token').value.trim()
  at('token').value = ''
  // What a header cannot have is nobody's token.
  if (!/^[\x21-\x7e]+$/.test(token)) return login()
  sessionStorage.setItem('token', token)
  list()
})

at('leave').addEventListener('click', () => {
  forget()
  say('The token is forgotten.')
  list()
})

setInterval(() => {
  const waits = !at('login').hidden
  if (document.visibilityState === 'visible' && !waits) list()
}, EVERY)
document.addEventListener('visibilitychange', () => {
  if (document.visibilityState === 'visible' && at('login').hidden) list()
})
addEventListener('beforeunload', (event) => {
  // Ctrl+W deletes a word in a shell.
  if (isOpen()) event.preventDefault()
})
list()
