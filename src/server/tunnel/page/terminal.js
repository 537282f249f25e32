// A terminal of a task in a dialog, by the host's WebSocket (docs/wire.md, terminals).
import { FitAddon } from './fit.js'
import { Terminal } from './xterm.js'

/** Announces that an exit code is understood. */
const PROTOCOL = 'alknet-tunnel.1'

/** What a sub-protocol begins with that is a token: pages can set no header of a WebSocket. */
const TOKEN = 'alknet-token.'

/** Longest text of keys, in UTF-16 units; a paste goes in several. */
const PIECE = 8192

/** UTF-16 units to be shown above which the shell is to wait, and below which it is to go on. */
const ENOUGH = 512 * 1024
const LITTLE = 64 * 1024

const at = (id) => document.getElementById(id)
const dialog = at('terminal')
const reader = at('reader')
const dark = matchMedia('(prefers-color-scheme: dark)')
const calm = matchMedia('(prefers-reduced-motion: reduce)')

/** The terminal that is shown. */
let open

export function isOpen() {
  return open?.alive ?? false
}

export function closeTerminal() {
  dialog.close()
}

/** Shows a terminal of a task. `lost` is called when it did not come to be, which may be for want of a token. */
export function openTerminal(id, token, lost) {
  at('terminal-title').textContent = `Terminal of task ${id}`
  say('Connecting…')
  open?.end()
  dialog.showModal()
  const { terminal, fit, sheets } = makeTerminal()
  const socket = new WebSocket(address(id), protocols(token))
  const send = (message) => {
    if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message))
  }
  const watch = new ResizeObserver(() => fit.fit())
  watch.observe(at('screen'))
  const me = { alive: true, terminal }
  open = me
  const over = () => {
    me.alive = false
    terminal.options.disableStdin = true
    terminal.options.cursorBlink = false
  }
  me.end = () => {
    over()
    watch.disconnect()
    socket.onclose = null
    socket.onmessage = null
    socket.close(1000)
    terminal.dispose()
    const others = document.adoptedStyleSheets.filter((sheet) => !sheets.includes(sheet))
    document.adoptedStyleSheets = others
    open = undefined
  }
  terminal.onResize(({ rows, cols }) => send({ type: 'resize', rows, cols }))
  terminal.onData((keys) => {
    for (const data of pieces(keys)) send({ type: 'input', data })
  })
  terminal.onBinary((data) => send({ type: 'input', data }))
  let began = false
  let failed = false
  socket.onopen = () => {
    began = true
    send({ type: 'resize', rows: terminal.rows, cols: terminal.cols })
    say('Connected.')
    terminal.focus()
  }
  const show = paced((data, shown) => terminal.write(data, shown), send)
  socket.onmessage = ({ data }) => {
    // Bytes mean nothing here.
    if (typeof data !== 'string') return
    const message = read(data)
    if (message.type === 'output') show(`${message.data}`)
    if (message.type === 'error') {
      failed = true
      say(`${message.data}`, true)
    }
  }
  socket.onclose = ({ code, reason }) => {
    over()
    at('close').focus()
    if (failed) return
    const number = /^exit (\d+)$/.exec(reason)?.[1]
    if (!began) say('The host opened no terminal.', true)
    else if (code !== 1000) say('The connection was lost.', true)
    else say(number ? `The shell has ended with ${number}.` : 'The shell has ended.')
    if (!began) lost()
  }
}

/** Writes, and has the shell wait while there is enough to show: what is far behind cannot be stopped by Ctrl+C. */
function paced(write, send) {
  let waiting = 0
  let paused = false
  return (data) => {
    waiting += data.length
    write(data, () => {
      waiting -= data.length
      if (paused && waiting < LITTLE) {
        paused = false
        send({ type: 'resume' })
      }
    })
    if (!paused && waiting > ENOUGH) {
      paused = true
      send({ type: 'pause' })
    }
  }
}

function makeTerminal() {
  const screen = at('screen')
  screen.replaceChildren()
  const style = getComputedStyle(screen)
  const terminal = new Terminal({
    cursorBlink: !calm.matches,
    fontFamily: style.fontFamily,
    fontSize: Number.parseFloat(style.fontSize),
    minimumContrastRatio: 4.5,
    screenReaderMode: reader.checked,
    scrollback: 5000,
    theme: theme(),
  })
  const fit = new FitAddon()
  terminal.loadAddon(fit)
  const sheets = withSheets(() => terminal.open(screen))
  terminal.attachCustomKeyEventHandler(onKey)
  fit.fit()
  return { terminal, fit, sheets }
}

/** Keys that are the page's: everything else is the terminal's, Tab and Escape too. */
function onKey(key) {
  const ours = key.ctrlKey && key.shiftKey && (key.code === 'KeyL' || key.code === 'KeyC')
  if (!ours) return true
  key.preventDefault()
  if (key.type === 'keydown' && key.code === 'KeyL') at('close').focus()
  if (key.type === 'keydown' && key.code === 'KeyC') document.execCommand('copy')
  return false
}

/**
 * Runs `make`, in which xterm.js makes <style> elements and writes into them from then on. This page lets none be written: style sheets
 * that are no text of the document take their place.
 */
function withSheets(make) {
  const sheets = []
  const create = document.createElement
  document.createElement = (name, ...rest) => {
    if (name !== 'style') return create.call(document, name, ...rest)
    const sheet = new CSSStyleSheet()
    sheets.push(sheet)
    const stand = create.call(document, 'template')
    Object.defineProperty(stand, 'textContent', { set: (text) => sheet.replaceSync(text) })
    return stand
  }
  try {
    make()
  } finally {
    delete document.createElement
  }
  document.adoptedStyleSheets.push(...sheets)
  return sheets
}

function theme() {
  return dark.matches
    ? {
        background: '#101214',
        foreground: '#e6e6e3',
        cursor: '#e6e6e3',
        selectionBackground: '#3b5a7d',
      }
    : {
        background: '#ffffff',
        foreground: '#1d1f21',
        cursor: '#1d1f21',
        selectionBackground: '#b7d5f2',
      }
}

function address(id) {
  const url = new URL(`/ws/task/${encodeURIComponent(id)}/terminal`, location.href)
  url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:'
  return url
}

function protocols(token) {
  if (!token) return [PROTOCOL]
  const bytes = String.fromCharCode(...new TextEncoder().encode(token))
  const text = btoa(bytes).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '')
  return [PROTOCOL, `${TOKEN}${text}`]
}

/** A message, or what is none as text to be shown: runners of the original may send such. */
function read(text) {
  try {
    const message = JSON.parse(text)
    if (typeof message?.type === 'string') return message
  } catch {
    // No JSON.
  }
  return { type: 'output', data: text }
}

/** In pieces that cut no sign. */
function pieces(text) {
  const all = []
  for (let from = 0; from < text.length; ) {
    let to = Math.min(from + PIECE, text.length)
    const last = text.charCodeAt(to - 1)
    if (to < text.length && last >= 0xd800 && last < 0xdc00) to -= 1
    all.push(text.slice(from, to))
    from = to
  }
  return all
}

function say(text, bad = false) {
  at('ended').textContent = text
  at('ended').classList.toggle('bad', bad)
}

at('close').addEventListener('click', closeTerminal)
// Escape closes a dialog; within the terminal it is a key, which xterm.js takes.
dialog.addEventListener('close', () => {
  // The event comes a moment later, when another terminal may be open.
  if (!dialog.open) open?.end()
})
reader.addEventListener('change', () => {
  if (open) open.terminal.options.screenReaderMode = reader.checked
})
dark.addEventListener('change', () => {
  if (open) open.terminal.options.theme = theme()
})
