import { createHmac } from 'node:crypto'
import * as audit from '../audit/events.ts'
import type { Queryable, Statement } from '../database/database.ts'
import { tooManyFailures } from '../http/problem.ts'

/** So many failures in so many seconds, or any number. */
export type Limit = { count: number, window: number } | 'off'

export interface ThrottleLimits {
  /** Of one account from one network, or from one known device. */
  login: Limit
  /** Of one network over all accounts. */
  network: Limit
  /** Of one account from everywhere, but for its known devices. */
  account: Limit
}

/** Who tries to be whom, and from where. */
export interface Try {
  /** As it was typed, in the form in which it is compared. Whether there is such an account makes no difference. */
  identifier: string
  /** The account, where there is one. */
  userId: string | undefined
  network: string
  /** The device, where it is known to be one of the account's: it is counted for itself, whatever others do. */
  device: string | undefined
}

/** An attempt that was counted as a failure, until it is known not to be one. */
export interface Attempt {
  /** What a success forgets, and of what it takes back this one. */
  forgets: Buffer | undefined
  takesBack: Buffer[]
}

export interface Throttle {
  /**
   * Counts an attempt before it is judged, so that of those made at the same time no more are than is allowed. Throws
   * `too_many_requests`, with the seconds to wait, and counts nothing where there were too many failures.
   */
  begin: (db: Queryable, attempt: Try, origin: audit.Origin) => Promise<Attempt>
  /** Forgets the failures of an account: from the network, and those from everywhere. */
  pardon: (db: Queryable, attempt: Pick<Try, 'identifier' | 'network'> & { userId: string }) => Promise<void>
}

const count: Statement = { name: 'throttle.count', text: 'select wait_seconds as wait, is_first_refusal as first from count_login_attempt($1, $2, $3)' }

const pardon: Statement = { name: 'throttle.pardon', text: 'delete from login_throttles where key in (select key from login_throttles where key = any($1) order by key for update)' }

/** Throttles by these limits; `secret` keeps the table from telling what was tried. */
export function throttle (limits: ThrottleLimits, secret: Buffer): Throttle {
  const key = (...words: string[]) => createHmac('sha256', secret).update(JSON.stringify(words)).digest().subarray(0, 16)

  return {
    async begin (db, { identifier, userId, network, device }, origin) {
      const asked = (device === undefined
        ? [
            { key: key('login', identifier, network), limit: limits.login },
            { key: key('network', network), limit: limits.network },
            { key: key('account', userId ?? identifier), limit: limits.account }
          ]
        : [{ key: key('device', userId ?? identifier, device), limit: limits.login }]
      ).flatMap(({ key, limit }) => limit === 'off' ? [] : [{ key, ...limit }])
      const [own, ...shared] = asked.map(({ key }) => key)
      const attempt = limits.login === 'off' ? { forgets: undefined, takesBack: asked.map(({ key }) => key) } : { forgets: own, takesBack: shared }
      if (asked.length === 0) return attempt

      const [row] = await db.query<{ wait: number, first: boolean }>(count, [asked.map(({ key }) => key), asked.map(({ count }) => count), asked.map(({ window }) => window)])
      if (!row || row.wait === 0) return attempt
      if (row.first) await audit.record(db, 'login.throttled', { userId, detail: { wait: row.wait } }, origin)
      throw tooManyFailures(row.wait)
    },

    async pardon (db, { identifier, userId, network }) {
      await db.query(pardon, [[key('login', identifier, network), key('account', userId)]])
    }
  }
}

// merge: serves src/sessions alone, until its statements call refund_login_attempt.
/**
 * The parts of a statement that take an attempt back: `forgets` names the parameter with the key to forget, `takesBack`
 * the one with the keys that it is taken off. The locks are taken as they are when it is counted.
 */
export const takingBack = (forgets: string, takesBack: string) => `
  uncounted as (
    select key from login_throttles where key = any(${takesBack}::bytea[] || ${forgets}) order by key for update
  ), forgotten as (
    delete from login_throttles where key in (select key from uncounted) and key = ${forgets}
  ), taken_back as (
    update login_throttles set failures = greatest(0, failures - 1), waits_until = null where key in (select key from uncounted) and key = any(${takesBack}::bytea[])
  )`

const takeBack: Statement = { name: 'throttle.take-back', text: 'select refund_login_attempt($1, $2)' }

/** Takes an attempt back that was not judged. */
export async function release (db: Queryable, { forgets, takesBack }: Attempt): Promise<void> {
  const keys = [...forgets ? [forgets] : [], ...takesBack]
  if (keys.length > 0) await db.query(takeBack, [null, keys])
}

/** Forgets the failures before an attempt that was right. */
export async function succeed (db: Queryable, { forgets, takesBack }: Attempt): Promise<void> {
  await db.query(takeBack, [forgets ?? null, takesBack])
}

const clear: Statement = {
  name: 'throttle.clear',
  text: `
    with page as (
      select key, expires_at from login_throttles where key > $1 order by key limit $2
    ), expired as (
      select key from login_throttles where key = any(array(select key from page where expires_at < now())) and expires_at < now() for update skip locked
    ), gone as (
      delete from login_throttles where key = any(array(select key from expired))
    )
    select count(*)::int as seen, (select key from page order by key desc limit 1) as last from page`
}

/** Clears what has expired of `most` counters from the one after `after` on; gives the one to go on after, undefined at the end. */
export async function clearExpired (db: Queryable, after: Buffer | undefined, most: number): Promise<Buffer | undefined> {
  const [row] = await db.query<{ seen: number, last: Buffer | null }>(clear, [after ?? Buffer.alloc(0), most])
  return row?.seen === most ? row.last ?? undefined : undefined
}
