import { type ChildProcess, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { afterwards } from './cleanup.js'

/** How a program ended. */
export interface Exit {
  code: number | null
  signal: NodeJS.Signals | null
  stderr: string
}

/** A program under test; killed by its pid, at the latest, when the test or file that started it is over. */
export class Program {
  readonly exit: Promise<Exit>
  readonly #child: ChildProcess
  readonly #lines: string[] = []
  readonly #waiting = new Set<() => void>()
  #stderr = ''
  #exited: Exit | undefined

  constructor(child: ChildProcess, lines: boolean) {
    this.#child = child
    child.stdin?.on('error', () => {}) // a program that has gone is seen by `exit`
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr += text
      this.#wake()
    })
    if (lines && child.stdout) {
      createInterface({ input: child.stdout }).on('line', (line) => {
        this.#lines.push(line)
        this.#wake()
      })
    }
    this.exit = new Promise((resolve, reject) => {
      child.on('error', reject)
      child.on('close', (code, signal) => {
        this.#exited = { code, signal, stderr: this.#stderr }
        this.#wake()
        resolve(this.#exited)
      })
    })
    this.exit.catch(() => {})
  }

  get pid(): number {
    if (this.#child.pid === undefined) throw new Error('the program did not start')
    return this.#child.pid
  }

  get stdin(): Writable {
    if (!this.#child.stdin) throw new Error('no stdin')
    return this.#child.stdin
  }

  /** Raw output; only for programs started with `lines: false`. */
  get stdout(): Readable {
    if (!this.#child.stdout) throw new Error('no stdout')
    return this.#child.stdout
  }

  /** All that the program has said on stderr so far. */
  get stderr(): string {
    return this.#stderr
  }

  /** The next line on stdout; rejects when the program ends without one. */
  async line(): Promise<string> {
    await this.#until(() => this.#lines.length > 0, 'a line')
    return this.#lines.shift() as string
  }

  /** The next line on stdout, as JSON of the shape the caller knows it to have. */
  async json<T>(): Promise<T> {
    return JSON.parse(await this.line()) as T
  }

  /** Resolves once stderr matches. */
  async complains(expected: RegExp): Promise<void> {
    await this.#until(() => expected.test(this.#stderr), `${expected}`)
  }

  kill(signal: NodeJS.Signals = 'SIGKILL'): void {
    this.#child.kill(signal)
  }

  async #until(ready: () => boolean, what: string): Promise<void> {
    while (!ready()) {
      if (this.#exited) {
        const { code, signal } = this.#exited
        throw new Error(`ended (${code ?? signal}) before ${what}; stderr:\n${this.#stderr}`)
      }
      await new Promise<void>((resolve) => this.#waiting.add(resolve))
    }
  }

  #wake(): void {
    const waiting = [...this.#waiting]
    this.#waiting.clear()
    for (const wake of waiting) wake()
  }
}

export interface StartOptions {
  env?: NodeJS.ProcessEnv
  /** Split stdout into lines (default), or leave it to the caller as a raw stream. */
  lines?: boolean
}

/** Starts a program whose three standard streams are pipes. */
export function start(command: string, args: readonly string[], options?: StartOptions): Program {
  const child = spawn(command, args, { stdio: 'pipe', env: { ...process.env, ...options?.env } })
  const program = new Program(child, options?.lines ?? true)
  afterwards(async () => {
    program.kill()
    await program.exit.catch(() => {})
  })
  return program
}

/** Runs `__test__/support/children/<name>.mjs` in a Node process of its own. */
export function startNode(
  name: string,
  args: readonly string[] = [],
  flags: readonly string[] = [],
): Program {
  const script = fileURLToPath(new URL(`children/${name}.mjs`, import.meta.url))
  return start(process.execPath, [...flags, script, ...args])
}
