import { randomBytes } from 'node:crypto'
import { dictionary } from '@zxcvbn-ts/language-common'
import argon2 from 'argon2'
import { hashingLane, type HashingLane } from './hashing-lane.ts'
import { passwordRejected } from './problem.ts'

export interface PasswordOptions {
  minLength: number
  memoryKib: number
  timeCost: number
  parallelism: number
  concurrency: number
}

/** Hashes passwords with the parameters of the configuration, so many at a time. */
export interface Passwords {
  hash: (password: string, signal?: AbortSignal) => Promise<string>
  /** Whether the password is the hash's; against no hash it does the same work, and the answer is no. */
  verify: (hash: string | null | undefined, password: string, signal?: AbortSignal) => Promise<boolean>
  /** Whether the hash took less work than a new one would. */
  outdated: (hash: string) => boolean
  /** Throws `password_rejected` with every reason against a new password. */
  check: (password: string, owner: Owner) => void
  readonly lane: HashingLane
}

/** Whom a new password is for: it may not contain what everybody knows of them. */
export interface Owner { email: string, username?: string | null | undefined, name?: string | null | undefined }

const common = new Set(dictionary['passwords-common'])
const longest = 256

// NFKC, so that a password does not depend on the keyboard that typed it; nothing is trimmed, folded or cut.
const normalise = (password: string) => password.normalize('NFKC')

export function passwords ({ minLength, memoryKib, timeCost, parallelism, concurrency }: PasswordOptions): Passwords {
  const lane = hashingLane(concurrency)
  const options = { type: argon2.argon2id, memoryCost: memoryKib, timeCost, parallelism }
  const hash = (password: string, signal?: AbortSignal) => lane.run(() => argon2.hash(normalise(password), options), signal)
  // Verified against in the place of an account that is not there: the hash of nothing anyone can type.
  const nobody = lane.run(() => argon2.hash(randomBytes(32), options))

  return {
    lane,
    hash,
    async verify (hash, password, signal) {
      // No account has such a password (see `check`), and the work of finding out must stay bounded and the same.
      const candidate = [...normalise(password)].length > longest || !password.isWellFormed() ? '' : normalise(password)
      return await lane.run(async () => {
        const right = await argon2.verify(hash ?? await nobody, candidate)
        return right && hash != null && candidate !== ''
      }, signal)
    },
    outdated (hash) {
      const { v, m, t } = parameters(hash)
      return v < 0x13 || m * t < memoryKib * timeCost
    },
    check (password, { email, username, name }) {
      const normal = normalise(password)
      const folded = normal.toLowerCase()
      const length = [...normal].length
      const local = email.slice(0, email.lastIndexOf('@'))
      const contains = (...words: Array<string | null | undefined>) =>
        words.some(word => word && [...word].length >= 4 && folded.includes(normalise(word).toLowerCase()))
      const reasons = Object.entries({
        too_short: length < minLength,
        too_long: length > longest,
        too_common: common.has(folded),
        contains_email: contains(email, local),
        contains_name: contains(username, name),
        contains_service: contains('latchkey')
      }).flatMap(([reason, holds]) => holds ? [reason] : [])
      if (reasons.length > 0) throw passwordRejected(reasons)
    }
  }
}

/** The version, memory in KiB and passes that a PHC string of argon2 names. */
function parameters (hash: string) {
  const [, v, m, t] = /^\$argon2id\$v=(\d+)\$m=(\d+),t=(\d+),p=\d+/.exec(hash) ?? []
  return { v: Number(v ?? 0), m: Number(m ?? 0), t: Number(t ?? 0) }
}
