import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['__test__/**/*.test.ts'],
    // A native addon is loaded once per process: forks keep a crash from hiding in another suite.
    pool: 'forks',
    testTimeout: 30_000,
    hookTimeout: 30_000,
    teardownTimeout: 10_000,
    // A test is right or wrong; one that passes at the second try is wrong.
    retry: 0,
    allowOnly: !process.env.CI,
    passWithNoTests: false,
  },
})
