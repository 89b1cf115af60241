import tap, { type Test } from 'tap'

/** The test of the file that runs: the root of `tap`, or a test below it if files share the process. */
export let t: Test = tap

/** Makes a test that of the next file. Call it before the file is imported. */
export function useTest (test: Test): void {
  t = test
}

// Node.js prints this warning for every stream that gets too many listeners, so a user would see it, too.
process.on('warning', warning => {
  if (warning.name === 'MaxListenersExceededWarning') t.fail(warning.message)
})
