import { createHmac } from 'node:crypto'
import type { Queryable, Statement } from '../database/database.ts'
import { parse } from '../syntax/email-address.ts'
import { hastily } from '../jobs/queue.ts'
import type { Mail, MailKind } from './outbox.ts'

/** The leaky buckets that a mail is counted in, as the SQL function `count_mail` takes them. */
export interface Buckets {
  kind: MailKind
  keys: Buffer[]
  /** How many mails each of the buckets takes at once. */
  capacities: number[]
  /** Seconds in which one mail leaks out of a bucket. */
  intervalSeconds: number
}

/** Which buckets mails are counted in. */
export interface MailLimits {
  /** The buckets of a mail that was requested from this network; its link is valid for `linkSeconds`. */
  requestBuckets: (kind: MailKind, canonical: string, network: string, linkSeconds: number) => Buckets
  /** The buckets of a notification. */
  notificationBuckets: (kind: MailKind, address: string) => Buckets
}

// A stranger on one network leaves at least ten mails to the owner on another network.
const networkCapacity = 5
const addressCapacity = 15
const maxIntervalSeconds = 300

/** Mails are counted by keyed digests: `secret` keeps the table from naming an address. */
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

const notifications = new Set<MailKind>([
  'email_change_requested', 'email_changed', 'password_changed', 'new_sign_in', 'session_replayed',
  'account_deleted'
])

/**
 * Whether a mail is counted when it is sent. That is so for notifications, whose address is known only then.
 * Requested mails are counted at the request. Mails that an administrator causes, or that follow the proof of
 * a mailbox, are not counted.
 */
export const isCountedWhenSent = ({ kind, isUncounted = false }: Mail) =>
  notifications.has(kind) && !isUncounted

/** The parameters of `count_mail`. */
export const bucketParameters = ({ keys, capacities, intervalSeconds }: Buckets) =>
  [keys, capacities, intervalSeconds] as const

const count: Statement = { name: 'mails.count', text: 'select count_mail($1, $2, $3) as "isAdmitted"' }
const countLazily: Statement = { name: 'mails.count-lazily', text: `${count.text} where ${hastily}` }

/**
 * Counts a mail; returns false, and counts nothing, if there were too many. In a transaction this comes after
 * the locks on users and sessions, and is undone with the rest.
 */
export async function admit (tx: Queryable, buckets: Buckets): Promise<boolean> {
  const [row] = await tx.query<{ isAdmitted: boolean }>(count, bucketParameters(buckets))
  return row?.isAdmitted ?? false
}

/** As `admit`, outside a transaction, without waiting for the disk. */
export async function admitLazily (db: Queryable, buckets: Buckets): Promise<boolean> {
  const [row] = await db.query<{ isAdmitted: boolean }>(countLazily, bucketParameters(buckets))
  return row?.isAdmitted ?? false
}

const clear: Statement = {
  name: 'mails.clear-buckets',
  text: `
    with page as (
      select key, empty_at from mail_buckets where key > $1 order by key limit $2
    ), emptied as (
      select key from mail_buckets
      where key = any(array(select key from page where empty_at < now())) and empty_at < now()
      for update skip locked
    ), deleted as (
      delete from mail_buckets where key = any(array(select key from emptied))
    )
    select count(*)::int as seen, (select key from page order by key desc limit 1) as last from page`
}

/**
 * Reads up to `pageSize` buckets after the key `after`, and purges the empty ones. Returns the key to
 * continue after; undefined at the end.
 */
export async function purgeBuckets (
  db: Queryable, after: Buffer | undefined, pageSize: number
): Promise<Buffer | undefined> {
  const values = [after ?? Buffer.alloc(0), pageSize]
  const [row] = await db.query<{ seen: number, last: Buffer | null }>(clear, values)
  return row?.seen === pageSize ? row.last ?? undefined : undefined
}
