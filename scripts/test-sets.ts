import { readdirSync, readFileSync } from 'node:fs'

/** The files of `npm run test:fast`. They touch every room of src/ and need little time. */
const fast = [
  'test/architecture.test.ts',
  'test/limits/failing.test.ts',
  'test/limits/surroundings.test.ts',
  'test/plugins/access-token.test.ts',
  'test/plugins/mail-templates.test.ts',
  'test/routes/imported-users.test.ts',
  'test/routes/refresh.test.ts',
  'test/routes/sign-in.test.ts',
  'test/routes/usernames.test.ts',
  'test/src/config.test.ts',
  'test/src/destination.test.ts',
  'test/src/hashing-queue.test.ts',
  'test/src/jobs.test.ts',
  'test/src/network.test.ts',
  'test/src/revocation-log.test.ts',
  'test/stories/life.test.ts'
]

/**
 * Files that mostly wait for timeouts and intervals, the longest first. They run one after the other beside
 * all others.
 */
const waiting = [
  'test/plugins/mailer.test.ts',
  'test/plugins/keyring.test.ts',
  'test/plugins/http-behaviour.test.ts',
  'test/faults/database.test.ts',
  'test/routes/webhooks.test.ts',
  'test/routes/oauth.test.ts'
]

/** Whether a test file needs little of a processor. */
export const mostlyWaits = (file: string): boolean => waiting.includes(file)

/** The other files that take longest. They start first, so that no processor is idle at the end. */
const longest = [
  'test/pages/browser.test.ts',
  'test/stories/attacks.test.ts',
  'test/plugins/mail-tls.test.ts',
  'test/faults/start.test.ts',
  'test/plugins/terminal-log.test.ts',
  'test/cli/commands.test.ts',
  'test/cli/users.test.ts',
  'test/routes/pages.test.ts',
  'test/routes/account-deletion.test.ts',
  'test/cli.test.ts',
  'test/plugins/rate-limit.test.ts',
  'test/routes/throttle.test.ts',
  'test/faults/process.test.ts',
  'test/routes/one-time-tokens.test.ts',
  'test/plugins/verifier.test.ts',
  'test/stories/delegated-login.test.ts',
  'test/stories/delegation.test.ts',
  'test/stories/life.test.ts'
]

/** The test files of the project, in the order in which they start. */
export function allFiles (): string[] {
  const names = readdirSync('test', { recursive: true, encoding: 'utf8' })
    .filter(name => name.endsWith('.test.ts'))
  const files = names.map(name => `test/${name.replaceAll('\\', '/')}`)
  return [...new Set([...waiting, ...longest, ...files.sort()])]
}

/** The files of `npm run test:soak`: those with a case that test/support/soak.ts makes larger. */
const soak = () => allFiles().filter(file => readFileSync(file, 'utf8').includes('/support/soak.ts'))

/** Finds the files of a set, given its name. */
export function filesOf (set: string): string[] {
  if (set === 'fast') return fast
  if (set === 'soak') return soak()
  throw new Error(`there is no test set "${set}": there are fast and soak`)
}

/** Files that measure the processor time or the memory of their process, or how long answers take. */
const ownProcess = [
  'test/src/argon2.test.ts',
  'test/stories/attacks.test.ts',
  'test/stories/enumeration.test.ts',
  'test/stories/response-times.test.ts'
]

/** Whether a test file must not share its process with other files. */
export const needsOwnProcess = (file: string): boolean => ownProcess.includes(file)
