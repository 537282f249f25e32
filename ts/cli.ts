/**
 * The command line for those who installed the package: the same code as the binary's, in the addon. Signals are Node's here.
 */
import { doorbell } from './doorbell.js'
import { native } from './native.js'
import { settle } from './pending.js'
import { program } from './program.js'

/** Runs the words after the program's name and resolves with the exit code. */
export async function main(words: readonly string[]): Promise<number> {
  const cli = new (native().NativeCli)(program())
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => cli.interrupt())
  process.on('SIGHUP', () => cli.reload())
  return settle(
    () => cli.run(doorbell(), ['alknet', ...words]),
    (exit) => exit,
    undefined,
  )
}
