import { createHmac } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import * as audit from '../audit/events.ts'
import type { Queryable, Statement } from '../database/database.ts'
import { tooManyFailures } from './problems.ts'

/** How many failures a window of so many seconds allows. */
export type FailureLimit = { count: number, window: number } | 'off'

export interface ThrottleLimits {
  /** For one account from one network, or from one known device. */
  login: FailureLimit
  /** For one network over all accounts. */
  network: FailureLimit
  /** For one account from all networks, without its known devices. */
  account: FailureLimit
}

/** A sign-in whose password is still to be verified. */
export interface SignInAttempt {
  /**
   * The address or username in its canonical form. Attempts count alike whether or not the account exists.
   */
  identifier: string
  /** The account, if it exists. */
  userId: string | undefined
  network: string
  /** The device, if the account knows it. It has a counter of its own, which other clients cannot exhaust. */
  device: string | undefined
}

/** An attempt that counts as a failure until it is refunded or succeeds. */
export interface CountedAttempt {
  /** The counter that a success resets. */
  resetKey: Buffer | undefined
  /** The counters from which a success subtracts this attempt only. */
  refundKeys: Buffer[]
}

/** What a password reset forgives. */
export interface ResetTarget { identifier: string, network: string, userId: string }

/** Bounds password guessing without locking out the account's owner. */
export interface SignInThrottle {
  /**
   * Counts an attempt before its password is verified, so that concurrent guesses cannot exceed the limit.
   * After too many failures it throws `too_many_requests` with the seconds to wait, and counts nothing.
   *
   * An attempt counts as a failure until its outcome is known. If only such attempts keep this one from being
   * counted, it waits for their outcome, for about 5 seconds at most.
   */
  countAttempt: (db: Queryable, attempt: SignInAttempt, origin: audit.Origin) => Promise<CountedAttempt>
  /** Resets the failures of an account: those from this network, and those from all networks. */
  reset: (db: Queryable, target: ResetTarget) => Promise<void>
}

// count_login_attempt and refund_login_attempt (migrations/012-attempts-being-verified.sql).
const counting: Statement = {
  name: 'throttle.count',
  text: `
    select wait_seconds as "waitSeconds", is_first_refusal as "isFirstRefusal", may_end as "mayEnd"
    from count_login_attempt($1, $2, $3)`
}
interface CountResult { waitSeconds: number, isFirstRefusal: boolean, mayEnd: boolean }

// How long an attempt waits for the outcome of others before each time that it tries again: as long as it
// takes to hash a few passwords, and about 5 seconds in total.
const pausesMs = [50, 100, 150, 200, 300, 400, 600, 800, 1_000, 1_500]
// Waiting takes no connection, but memory.
const maxWaiting = 500

// All statements lock counters in the order of their keys. Otherwise two of them could deadlock.
const resetting: Statement = {
  name: 'throttle.reset',
  text: `
    delete from login_throttles
    where key in (select key from login_throttles where key = any($1) order by key for update)`
}

/**
 * The throttle with these limits. Keys are made with `secret`, so the table does not reveal who was tried.
 */
export function createSignInThrottle (limits: ThrottleLimits, secret: Buffer): SignInThrottle {
  const keyOf = (...words: string[]) =>
    createHmac('sha256', secret).update(JSON.stringify(words)).digest().subarray(0, 16)

  /** The counters of an attempt. The first is the one that a success resets. */
  const countersOf = ({ identifier, userId, network, device }: SignInAttempt) => device === undefined
    ? [
        { key: keyOf('login', identifier, network), limit: limits.login },
        { key: keyOf('network', network), limit: limits.network },
        { key: keyOf('account', userId ?? identifier), limit: limits.account }
      ]
    : [{ key: keyOf('device', userId ?? identifier, device), limit: limits.login }]

  let waiting = 0
  async function waitForOthers (ms: number) {
    waiting++
    await pause(ms)
    waiting--
  }

  return {
    async countAttempt (db, attempt, origin) {
      const counters = countersOf(attempt)
        .flatMap(({ key, limit }) => limit === 'off' ? [] : [{ key, ...limit }])
      const keys = counters.map(({ key }) => key)
      if (keys.length === 0) return { resetKey: undefined, refundKeys: [] }

      const values = [keys, counters.map(({ count }) => count), counters.map(({ window }) => window)]
      const pauses = pausesMs.values()
      for (;;) {
        const [row] = await db.query<CountResult>(counting, values)
        if (!row || row.waitSeconds === 0) break
        const { waitSeconds, isFirstRefusal, mayEnd } = row
        const { value: pauseMs } = pauses.next()
        if (!mayEnd || pauseMs === undefined || waiting >= maxWaiting) {
          const event = { userId: attempt.userId, detail: { wait: waitSeconds } }
          if (isFirstRefusal) await audit.record(db, 'login.throttled', event, origin)
          throw tooManyFailures(waitSeconds)
        }
        await waitForOthers(pauseMs)
      }
      const [resetKey, ...refundKeys] = keys
      return limits.login === 'off' ? { resetKey: undefined, refundKeys: keys } : { resetKey, refundKeys }
    },

    async reset (db, { identifier, userId, network }) {
      await db.query(resetting, [[keyOf('login', identifier, network), keyOf('account', userId)]])
    }
  }
}

const recording: Statement = {
  name: 'throttle.record-success',
  text: 'select refund_login_attempt($1, $2)'
}

const keeping: Statement = {
  name: 'throttle.keep-failure',
  text: 'select keep_login_failure($1)'
}

/** Keeps an attempt as a failure: its password was wrong. */
export async function keepFailure (db: Queryable, { resetKey, refundKeys }: CountedAttempt): Promise<void> {
  const keys = [...resetKey ? [resetKey] : [], ...refundKeys]
  if (keys.length > 0) await db.query(keeping, [keys])
}

/** Refunds an attempt whose password was not verified, or was right without a sign-in. */
export async function refund (db: Queryable, { resetKey, refundKeys }: CountedAttempt): Promise<void> {
  const keys = [...resetKey ? [resetKey] : [], ...refundKeys]
  if (keys.length > 0) await db.query(recording, [null, keys])
}

/** Resets the failures before a successful attempt. */
export async function recordSuccess (db: Queryable, { resetKey, refundKeys }: CountedAttempt): Promise<void> {
  await db.query(recording, [resetKey ?? null, refundKeys])
}

const purging: Statement = {
  name: 'throttle.purge',
  text: `
    with page as (
      select key, expires_at from login_throttles where key > $1 order by key limit $2
    ), expired as (
      select key from login_throttles
      where key = any(array(select key from page where expires_at < now())) and expires_at < now()
      for update skip locked
    ), purged as (
      delete from login_throttles where key = any(array(select key from expired))
    )
    select count(*)::int as seen, (select key from page order by key desc limit 1) as last from page`
}

/**
 * Purges the expired ones among the next `limit` counters after the key `after`. Returns the key to continue
 * after, undefined at the end.
 */
export async function purgeExpired (
  db: Queryable, after: Buffer | undefined, limit: number
): Promise<Buffer | undefined> {
  const values = [after ?? Buffer.alloc(0), limit]
  const [row] = await db.query<{ seen: number, last: Buffer | null }>(purging, values)
  return row?.seen === limit ? row.last ?? undefined : undefined
}
