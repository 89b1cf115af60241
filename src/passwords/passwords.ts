import { randomBytes } from 'node:crypto'
import type { Build, Wanted } from './argon2-build.ts'
import * as argon2id from './argon2id.ts'
import { evenWork } from './timing-equalization.ts'
import { hashingQueue, type HashingQueue, type QueueTicket } from './hashing-queue.ts'
import { keyid, pepperOf, withKeyid, type Peppers } from './pepper.ts'
import { longest, normalise, reasonsAgainst, type Owner, type Rules } from './policy.ts'
import { ofArgon2, target } from './stored-hash.ts'
import { share } from './thread-pool.ts'
import { passwordRejected, validationFailed } from '../http/problem.ts'

export type { QueueTicket } from './hashing-queue.ts'

export interface PasswordOptions extends Rules, argon2id.Argon2Options { concurrency: number, build: Wanted }

/** What is asked of others. */
export interface Sources {
  peppers: Peppers
  isBreached: (password: string) => Promise<boolean>
}

/** Hashes passwords with the parameters of the configuration, so many at a time. */
export interface Passwords {
  hash: (password: string, ticket?: QueueTicket) => Promise<string>
  /**
   * Whether the password is the hash's; against no hash it does the same work, and the answer is no. Throws
   * `database_unavailable` where the hash's pepper is not known.
   */
  verify: (hash: string | null | undefined, password: string, ticket?: QueueTicket) => Promise<boolean>
  /** Whether another system made the hash, it took less work than a new one would, or it has not the same pepper. */
  outdated: (hash: string) => boolean
  /**
   * Throws `password_rejected` with every reason against a new password, and `validation_failed` for half a pair of
   * surrogates, of which no hash could tell one from another. May take 500 ms: not with a connection held.
   */
  check: (password: string, owner: Owner) => Promise<void>
  readonly queue: HashingQueue
  /** Of argon2, the build in use. */
  readonly build: Build
}

/** Why a hash of another system is not to be taken over: `unknown` for its format, or how it costs too much; undefined where it is. */
export function unfit (hash: string, options: argon2id.Argon2Options): string | undefined {
  const found = target(hash, options)
  return found ? found.excess : 'unknown'
}

/** Loads what hashes. Throws a ConfigError where the build that is wanted does not work; `warn` hears of what works less well than it might. */
export async function passwords ({ concurrency, build, ...options }: PasswordOptions, { peppers, isBreached }: Sources, warn: (message: string) => void): Promise<Passwords> {
  const { name, passedOver } = await argon2id.use(build)
  passedOver.forEach(warn)
  const { atATime, shortage } = share(concurrency)
  if (shortage !== undefined) warn(shortage)
  const queue = hashingQueue(atATime)
  // Hashes that take more memory than a new one are evaluated one at a time.
  const large = hashingQueue(1)
  const { timed, complete } = evenWork(options)
  // Verified against in the place of an account that is not there: the hash of nothing anyone can type.
  const nobody = queue.run(() => timed(1, () => argon2id.hash(randomBytes(32), options))).then(hash => ofArgon2(hash))

  function usable (hash: string, secret: Buffer | undefined) {
    const found = target(hash, options, secret)
    if (found && found.excess === undefined) return found
    warn(`a password hash was not evaluated, and its user is refused: ${found?.excess ?? 'its format is not known'}`)
    return undefined
  }

  return {
    queue,
    build: name,
    async hash (password, ticket) {
      const { kid, secret } = peppers.current() ?? {}
      return withKeyid(await queue.run(() => timed(1, () => argon2id.hash(normalise(password), options, secret)), ticket), kid)
    },
    async verify (hash, password, ticket) {
      // No account has such a password (see `reasonsAgainst`), and the work of finding out must stay bounded and the same.
      const typed = [...normalise(password)].length > longest || !password.isWellFormed() ? '' : password
      const pepper = hash == null ? undefined : await pepperOf(hash, peppers)
      const known = hash == null ? undefined : usable(hash, pepper?.secret)
      const evaluate = async () => await queue.run(async () => {
        const everybody = await nobody
        const { forms, matches } = known ?? everybody
        const began = performance.now()
        for (const form of forms(typed)) if (await matches(form)) return known !== undefined && form !== ''
        if (known?.full === false) await complete(everybody.forms(typed).length, performance.now() - began)
        return false
      }, ticket)
      return known && known.memoryKib > options.memoryKib ? await large.run(evaluate, ticket) : await evaluate()
    },
    outdated: hash => argon2id.outdated(hash, options) || keyid(hash) !== peppers.current()?.kid,
    async check (password, owner) {
      if (!password.isWellFormed()) throw validationFailed('The password is not text in Unicode.')
      const reasons = reasonsAgainst(password, owner, options)
      if (reasons.length === 0 && await isBreached(normalise(password))) reasons.push('breached')
      if (reasons.length > 0) throw passwordRejected(reasons)
    }
  }
}
