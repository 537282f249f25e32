import { defineConfig } from 'vitest/config'

// For what installs packages from a registry: `npm run test:package`, `npm run test:runtimes`.
export default defineConfig({
  test: {
    include: ['**/*.test.ts'],
    pool: 'forks',
    // One after the other: they share an installation that the first of them makes.
    fileParallelism: false,
    testTimeout: 240_000,
    hookTimeout: 600_000,
    retry: 0,
    allowOnly: !process.env.CI,
    passWithNoTests: false,
  },
})
