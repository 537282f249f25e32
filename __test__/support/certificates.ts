import { execFile } from 'node:child_process'
import { copyFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { type KeyPair, scratch } from './keys.js'

const run = promisify(execFile)

let made = 0

/**
 * Has `authority` sign the public key of `key` with `ssh-keygen -s` and gives the certificate's path; `args` say for whom (`-n`), until when
 * (`-V`), with which options (`-O`) and of which kind (`-h`). Not beside the key, so that nobody finds it without being told.
 */
export async function certify(
  authority: KeyPair,
  key: KeyPair,
  args: readonly string[],
): Promise<string> {
  made += 1
  const copy = join(scratch(), `certified-${made}.pub`)
  copyFileSync(key.publicPath, copy)
  await run('ssh-keygen', ['-q', '-s', authority.path, '-I', 'of the test', ...args, copy])
  rmSync(copy)
  return copy.replace(/\.pub$/, '-cert.pub')
}
