// Checks .github/ against GitHub's schema and for known ways to be taken over. Its tools are Python's, so it is not part of
// `npm run lint`.
//
//   npm run lint:workflows
import fs from 'node:fs'
import path from 'node:path'
import { ensureVenv } from './peers.mjs'
import { Failure, must, program, root, say } from './support.mjs'

const requirements = ['check-jsonschema==0.39.0', 'zizmor==1.32.0']

await program(import.meta.url, async () => {
  const programs = await ensureVenv('venv-workflows', requirements)
  if (!programs)
    throw new Failure(`cannot make a Python environment with ${requirements.join(' ')}`)
  const folder = '.github/workflows'
  const files = fs.readdirSync(path.join(root, folder)).map((name) => path.join(folder, name))
  for (const file of files) oneRust(file)
  const schema = ['--builtin-schema', 'vendor.github-workflows', ...files]
  await must(path.join(programs, 'check-jsonschema'), schema)
  await must(path.join(programs, 'zizmor'), ['--offline', '--no-progress', '.github'])
  say('the workflows are content')
})

/** An image with another Rust would fetch this one at each run. */
function oneRust(file) {
  const read = (name) => fs.readFileSync(path.join(root, name), 'utf8')
  const [, ours] = /^channel = "(.+)"$/m.exec(read('rust-toolchain.toml')) ?? []
  const images = read(file).matchAll(/\brust:([\d.]+)-/g)
  const other = [...images].find(([, version]) => version !== ours)
  if (other)
    throw new Failure(`${file} has the image of Rust ${other[1]}, rust-toolchain.toml says ${ours}`)
}
