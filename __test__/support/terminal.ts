import { fileURLToPath } from 'node:url'
import { type Program, start } from './program.js'

/** How a program in a terminal ended, and whether it left the terminal as it was. */
export interface Ended {
  code: number
  same: boolean
}

/** Bytes of a screen that are remembered, and looked through at every change. */
const KEPT = 65_536

/** A program in a terminal of its own, and somebody who sits there. */
export class Seat {
  readonly #pty: Program
  #shown = Buffer.alloc(0)
  #bytes = 0
  readonly #waiting = new Set<() => void>()

  constructor(pty: Program) {
    this.#pty = pty
    pty.stdout.on('data', (piece: Buffer) => {
      this.#bytes += piece.length
      this.#shown = Buffer.concat([this.#shown.subarray(-KEPT), piece])
      for (const wake of this.#waiting) wake()
      this.#waiting.clear()
    })
    pty.stdout.on('end', () => {
      for (const wake of this.#waiting) wake()
    })
  }

  /** All that was shown since the last `sees`. */
  get shown(): string {
    return this.#shown.toString()
  }

  /** Bytes shown in all. */
  get bytes(): number {
    return this.#bytes
  }

  type(keys: string): void {
    this.#order({ keys })
  }

  resize(rows: number, cols: number): void {
    this.#order({ size: [rows, cols] })
  }

  /** Stops reading what is shown, as a terminal that hangs; false goes on. */
  pause(pause: boolean): void {
    this.#order({ pause })
  }

  /** The text that fits, once it is shown; what was shown until its end is forgotten. */
  async sees(expected: RegExp): Promise<RegExpExecArray> {
    for (;;) {
      const found = expected.exec(this.shown)
      if (found) {
        const length = Buffer.byteLength(this.shown.slice(0, found.index + found[0].length))
        this.#shown = this.#shown.subarray(length)
        return found
      }
      if (this.#pty.stdout.readableEnded) throw new Error(`ended before ${expected}: ${this.shown}`)
      await new Promise<void>((resolve) => this.#waiting.add(resolve))
    }
  }

  /** The process in the terminal. */
  async pid(): Promise<number> {
    await this.#pty.complains(/"pid"/)
    return (JSON.parse(this.#pty.stderr.split('\n')[0] as string) as { pid: number }).pid
  }

  /** Resolves once the process was stopped, with whether the terminal was as before then. */
  async stopped(): Promise<boolean> {
    await this.#pty.complains(/"stopped"/)
    return /"stopped": true, "same": true/.test(this.#pty.stderr)
  }

  async ended(): Promise<Ended> {
    const { stderr } = await this.#pty.exit
    return JSON.parse(stderr.trim().split('\n').at(-1) as string) as Ended
  }

  #order(order: object): void {
    this.#pty.stdin.write(`${JSON.stringify(order)}\n`)
  }
}

const script = fileURLToPath(new URL('pty.py', import.meta.url))

/** Starts a program in a terminal of its own. */
export function sit(
  command: string[],
  { rows = 24, cols = 80, env }: { rows?: number; cols?: number; env?: NodeJS.ProcessEnv } = {},
): Seat {
  const words = [script, `${rows}`, `${cols}`, ...command]
  return new Seat(start('python3', words, env ? { lines: false, env } : { lines: false }))
}
