import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { scratch } from './keys.js'
import { freePort } from './net.js'
import { peerPath } from './peers.js'
import { type Program, start } from './program.js'

/** A proxy of others on loopback, and the URL to use it by. */
export interface RealProxy {
  url: string
  program: Program
}

export interface ProxyOptions {
  /** Who may use it. */
  login?: { user: string; password: string }
  /** Of an HTTP proxy: the only port that may be connected to. */
  onlyPort?: number
}

/** microsocks: SOCKS5. It tells on stderr of every target it has connected to, by the name it was given. */
export function startMicrosocks({ login }: ProxyOptions = {}): Promise<RealProxy> {
  return onFreePort('socks5', login, (port) => {
    const who = login === undefined ? [] : ['-u', login.user, '-P', login.password]
    return start(peerPath('microsocks'), ['-i', '127.0.0.1', '-p', `${port}`, ...who])
  })
}

/** tinyproxy: HTTP CONNECT. */
export function startTinyproxy({ login, onlyPort }: ProxyOptions = {}): Promise<RealProxy> {
  return onFreePort('http', login, (port) => {
    const config = join(scratch(), `tinyproxy.${port}`)
    const lines = [`Port ${port}`, 'Listen 127.0.0.1', 'Timeout 60', 'MaxClients 20']
    if (login !== undefined) lines.push(`BasicAuth ${login.user} ${login.password}`)
    if (onlyPort !== undefined) lines.push(`ConnectPort ${onlyPort}`)
    writeFileSync(config, [...lines, ''].join('\n'))
    return start(peerPath('tinyproxy'), ['-d', '-c', config])
  })
}

async function onFreePort(
  scheme: string,
  login: ProxyOptions['login'],
  startAt: (port: number) => Program,
): Promise<RealProxy> {
  const who =
    login === undefined
      ? ''
      : `${encodeURIComponent(login.user)}:${encodeURIComponent(login.password)}@`
  for (let attempt = 1; ; attempt += 1) {
    const port = await freePort()
    const program = startAt(port)
    const answers = await Promise.race([listening(port), program.exit.then(() => false)])
    if (answers) return { url: `${scheme}://${who}127.0.0.1:${port}`, program }
    // Another took the port meanwhile.
    if (attempt === 5) throw new Error(`no ${scheme} proxy: ${program.stderr}`)
  }
}

/** Waits for a program that does not say when it listens. */
export async function listening(port: number): Promise<boolean> {
  for (;;) {
    const socket = connect(port, '127.0.0.1')
    try {
      await once(socket, 'connect')
      return true
    } catch {
      await setImmediate()
    } finally {
      socket.destroy()
    }
  }
}
