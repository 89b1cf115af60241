import { randomBytes } from 'node:crypto'
import { validationFailed } from '../http/problems.ts'
import { passwordRejected } from './problems.ts'
import type { Argon2Build, Argon2BuildSetting } from './argon2-build.ts'
import * as argon2id from './argon2id.ts'
import { hashingQueue, type HashingQueue, type QueueTicket } from './hashing-queue.ts'
import { findPepper, pepperIdOf, withKeyid, type Peppers } from './pepper.ts'
import { maxLength, normalise, rejectionReasons, type PasswordOwner, type PasswordRules } from './policy.ts'
import { argon2Hash, parseStoredHash } from './stored-hash.ts'
import { hashingConcurrency } from './thread-pool.ts'
import { timingEqualization } from './timing-equalization.ts'

export type { QueueTicket } from './hashing-queue.ts'

export interface PasswordOptions extends PasswordRules, argon2id.Argon2Options {
  /** How many passwords are hashed at a time. */
  concurrency: number
  build: Argon2BuildSetting
}

export interface PasswordSources {
  peppers: Peppers
  isBreached: (password: string) => Promise<boolean>
}

/** Hashes and verifies passwords in the hashing queue, with the configured parameters of argon2. */
export interface Passwords {
  /** Returns the PHC string of a new hash. Throws `overloaded` if the queue has no capacity. */
  hash: (password: string, ticket?: QueueTicket) => Promise<string>
  /**
   * Returns whether the password matches the hash. Without a hash it does the same work and returns false.
   * Throws `overloaded` if the queue has no capacity, `database_unavailable` if the hash's pepper is missing.
   */
  verify: (hash: string | null | undefined, password: string, ticket?: QueueTicket) => Promise<boolean>
  /** Returns whether the hash is of another format or pepper than a new one, or took less work. */
  needsRehash: (hash: string) => boolean
  /**
   * Throws `password_rejected` with every reason against a new password. Throws `validation_failed` for a
   * lone surrogate, because a hash cannot tell one from another. May take 500 ms, so hold no connection
   * meanwhile.
   */
  check: (password: string, owner: PasswordOwner) => Promise<void>
  readonly queue: HashingQueue
  /** The build of argon2 in use. */
  readonly build: Argon2Build
}

/**
 * Returns why a hash of another system must not be imported: `unknown` for its format, or the cost limit that
 * it exceeds. Returns undefined if the hash can be imported.
 */
export function importObstacle (hash: string, options: argon2id.Argon2Options): string | undefined {
  const stored = parseStoredHash(hash, options)
  return stored ? stored.exceededLimit : 'unknown'
}

/**
 * Loads the configured build of argon2. Throws a ConfigError if it does not work. Calls `warn` with a
 * sentence for everything that works less well than it could.
 */
export async function createPasswords (
  { concurrency: wanted, build, ...options }: PasswordOptions,
  { peppers, isBreached }: PasswordSources,
  warn: (message: string) => void
): Promise<Passwords> {
  const { name, buildWarnings } = await argon2id.selectBuild(build)
  buildWarnings.forEach(warn)
  const { concurrency, warning } = hashingConcurrency(wanted)
  if (warning !== undefined) warn(warning)
  const queue = hashingQueue(concurrency)
  // Hashes that take more memory than a new one are evaluated one at a time.
  const largeHashQueue = hashingQueue(1)
  const { measure, pad } = timingEqualization(options)
  const newHash = async (password: string | Buffer, secret?: Buffer) =>
    await measure(1, async () => await argon2id.hash(password, options, secret))
  // Verified against if there is no account. It is a hash of random bytes, which match no typed password.
  const dummyHash = queue.run(async () => argon2Hash(await newHash(randomBytes(32))))

  function parseUsable (hash: string, secret: Buffer | undefined) {
    const stored = parseStoredHash(hash, options, secret)
    if (stored && stored.exceededLimit === undefined) return stored
    const reason = stored?.exceededLimit ?? 'its format is unknown'
    warn(`password hash not evaluated, sign-in refused: ${reason}`)
    return undefined
  }

  return {
    queue,
    build: name,
    async hash (password, ticket) {
      const { kid, secret } = peppers.current() ?? {}
      return withKeyid(await queue.run(async () => await newHash(normalise(password), secret), ticket), kid)
    },
    async verify (hash, password, ticket) {
      // No account has such a password (see `check`), and its length must not change the work.
      const isPossible = [...normalise(password)].length <= maxLength && password.isWellFormed()
      const typed = isPossible ? password : ''
      const pepper = hash == null ? undefined : await findPepper(hash, peppers)
      const stored = hash == null ? undefined : parseUsable(hash, pepper?.secret)
      const evaluate = async () => await queue.run(async () => {
        const dummy = await dummyHash
        const { passwordCandidates, matches } = stored ?? dummy
        const startedAt = performance.now()
        for (const candidate of passwordCandidates(typed)) {
          if (await matches(candidate)) return stored !== undefined && candidate !== ''
        }
        if (stored?.isFullWork === false) {
          await pad(dummy.passwordCandidates(typed).length, performance.now() - startedAt)
        }
        return false
      }, ticket)
      const isLarge = stored !== undefined && stored.memoryKib > options.memoryKib
      return isLarge ? await largeHashQueue.run(evaluate, ticket) : await evaluate()
    },
    needsRehash: hash => argon2id.needsRehash(hash, options) || pepperIdOf(hash) !== peppers.current()?.kid,
    async check (password, owner) {
      if (!password.isWellFormed()) throw validationFailed('The password must be well-formed Unicode text.')
      const reasons = rejectionReasons(password, owner, options)
      if (reasons.length === 0 && await isBreached(normalise(password))) reasons.push('breached')
      if (reasons.length > 0) throw passwordRejected(reasons)
    }
  }
}
