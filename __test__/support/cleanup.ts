import { afterAll, onTestFinished, TestRunner } from 'vitest'

type Step = () => unknown

const fileSteps: Step[] = []

afterAll(async () => {
  for (const step of fileSteps.reverse()) await step()
})

/** Runs `step` when the current test is over, or the current file when called outside a test. */
export function afterwards(step: Step): void {
  if (TestRunner.getCurrentTest() === undefined) fileSteps.push(step)
  else onTestFinished(async () => void (await step()))
}

/** Remembers the one result of `make`: for what a file needs once, such as keys. */
export function memo<T>(make: () => T): () => T {
  let kept: { value: T } | undefined
  return () => {
    kept ??= { value: make() }
    return kept.value
  }
}
