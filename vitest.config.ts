import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['__test__/**/*.test.ts'],
    // They install from a registry: npm run test:package, npm run test:runtimes.
    exclude: ['__test__/package/**', '__test__/runtimes/**'],
    // A native addon is loaded once per process: forks keep a crash from hiding in another suite.
    pool: 'forks',
    // Ours as users have it: CommonJS, loaded by Node and not by Vitest.
    server: { deps: { external: [/\/dist\//] } },
    testTimeout: 30_000,
    hookTimeout: 30_000,
    teardownTimeout: 10_000,
    // A test is right or wrong; one that passes at the second try is wrong.
    retry: 0,
    allowOnly: !process.env.CI,
    passWithNoTests: false,
  },
})
