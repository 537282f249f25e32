#!/usr/bin/env node
import { main } from '../dist/cli.js'

try {
  // A read of standard input may still be under way in the core, so not by `exitCode`.
  process.exit(await main(process.argv.slice(2)))
} catch (error) {
  process.stderr.write(`error: ${error.message}\n`)
  process.exit(1)
}
