// Writes the version of package.json into every other place that has it: `npm version` runs it, before it commits.
import fs from 'node:fs'
import path from 'node:path'
import { env, must, program, readJson, root } from './support.mjs'

async function main() {
  const { version } = readJson(path.join(root, 'package.json'))
  replace('Cargo.toml', /(?<=^\[workspace\.package\]\nversion = ")[^"]+/m, version)
  replace('ts/version.ts', /(?<=VERSION = ')[^']+/, version)
  for (const key of fs.readdirSync(path.join(root, 'npm'))) {
    replace(`npm/${key}/package.json`, /(?<="version": ")[^"]+/, version)
  }
  // Rewrites the versions of the workspace in Cargo.lock and nothing else.
  await must('cargo', ['update', '--workspace', '--offline'], { env, quiet: true })
}

function replace(file, pattern, version) {
  const place = path.join(root, file)
  fs.writeFileSync(place, fs.readFileSync(place, 'utf8').replace(pattern, version))
}

await program(import.meta.url, main)
