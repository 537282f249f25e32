/**
 * How the command line of this package is run in a process of its own.
 */
import { resolve } from 'node:path'

/** The words before those of a command line. */
export function program(): string[] {
  return [process.execPath, resolve(__dirname, '..', 'bin', 'alknet.js')]
}
