import { createHmac } from 'node:crypto'
import type { Queryable, Statement } from '../database/database.ts'
import { parse } from '../syntax/email-address.ts'
import { withAsyncCommit } from '../jobs/queue.ts'
import type { MailKind, MailKindList } from './mail-kinds.ts'
import type { Mail } from './outbox.ts'

/** The leaky buckets that count a mail, with the parameters of the SQL function `count_mail`. */
export interface MailBuckets {
  kind: MailKind
  keys: Buffer[]
  /** How many mails each of the buckets takes at once. */
  capacities: number[]
  /** Seconds in which one mail leaks out of a bucket. */
  intervalSeconds: number
}

/** Which buckets count a mail. */
export interface MailLimits {
  /** The buckets of a mail that was requested from this network. Its link is valid for `linkSeconds`. */
  requestBuckets: (kind: MailKind, canonical: string, network: string, linkSeconds: number) => MailBuckets
  /** The buckets of a notification. */
  notificationBuckets: (kind: MailKind, address: string) => MailBuckets
}

// A stranger on one network leaves at least ten mails to the owner on another network.
const networkCapacity = 5
const addressCapacity = 15
const maxIntervalSeconds = 300

/** Counts mails under keyed digests: `secret` keeps the table from revealing an address. */
export function mailLimits (secret: Buffer): MailLimits {
  const keyOf = (...words: string[]) =>
    createHmac('sha256', secret).update(JSON.stringify(words)).digest().subarray(0, 16)
  return {
    requestBuckets: (kind, canonical, network, linkSeconds) => ({
      kind,
      keys: [keyOf(kind, canonical, network), keyOf(kind, canonical)],
      capacities: [networkCapacity, addressCapacity],
      intervalSeconds: Math.min(linkSeconds / 2, maxIntervalSeconds)
    }),
    // The network does not count, because an attacker who causes a notification chooses it.
    notificationBuckets: (kind, address) => ({
      kind,
      keys: [keyOf(kind, parse(address)?.canonical ?? address)],
      capacities: [addressCapacity],
      intervalSeconds: maxIntervalSeconds
    })
  }
}

/**
 * Whether a mail is counted when it is sent. That is so for notifications, because their address is known
 * only then. Requested mails are counted at the request. Mails that an administrator or a verified mailbox
 * caused are not counted.
 */
export const isCountedWhenSent = ({ kind, isUncounted = false }: Mail, kinds: MailKindList): boolean =>
  !isUncounted && kinds.get(kind)?.isNotification === true

const count: Statement = { name: 'mails.count', text: 'select count_mail($1, $2, $3) as "isCounted"' }
const countWithAsyncCommit: Statement = {
  name: 'mails.count-with-async-commit',
  text: `select count_mail($1, $2, $3) as "isCounted" where ${withAsyncCommit}`
}

async function runCount (db: Queryable, statement: Statement, buckets: MailBuckets): Promise<boolean> {
  const { keys, capacities, intervalSeconds } = buckets
  const [row] = await db.query<{ isCounted: boolean }>(statement, [keys, capacities, intervalSeconds])
  return row?.isCounted ?? false
}

/**
 * Counts a mail. Returns false, and counts nothing, if a bucket is full. Call it in a transaction after the
 * locks on users and sessions; a rollback undoes it.
 */
export const countMail = async (tx: Queryable, buckets: MailBuckets) => await runCount(tx, count, buckets)

/** Does the same outside a transaction, without waiting for the disk. */
export const countMailWithAsyncCommit = async (db: Queryable, buckets: MailBuckets) =>
  await runCount(db, countWithAsyncCommit, buckets)

const purgeEmpty: Statement = {
  name: 'mails.purge-buckets',
  text: `
    with page as (
      select key, empty_at from mail_buckets where key > $1 order by key limit $2
    ), locked as (
      select key from mail_buckets
      where key = any(array(select key from page where empty_at < now())) and empty_at < now()
      for update skip locked
    ), purged as (
      delete from mail_buckets where key = any(array(select key from locked))
    )
    select count(*)::int as seen, (select key from page order by key desc limit 1) as last from page`
}

/**
 * Reads up to `pageSize` buckets after the key `after`, and purges the empty ones. Returns the key to
 * continue after, or undefined at the end.
 */
export async function purgeBuckets (
  db: Queryable, after: Buffer | undefined, pageSize: number
): Promise<Buffer | undefined> {
  const values = [after ?? Buffer.alloc(0), pageSize]
  const [row] = await db.query<{ seen: number, last: Buffer | null }>(purgeEmpty, values)
  return row?.seen === pageSize ? row.last ?? undefined : undefined
}
