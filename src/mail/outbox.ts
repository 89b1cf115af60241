import type { Queryable, Statement } from '../database/database.ts'
import type { Publisher } from '../database/effects.ts'
import type { Language } from '../http/language.ts'
import { enqueued } from '../jobs/queue.ts'
import type { SealedColumn } from '../crypto/sealed-column.ts'
import { seal, unseal, type KeyEncryptionKeys } from '../crypto/sealing.ts'
import type { MailKind } from './mail-kinds.ts'

// The outbox of mails. A mail is a sealed row of the table `jobs`. It is written in the transaction that
// causes the mail, and sent after the commit by the workers in plugins/mailer.ts.

/** A mail that will be rendered when it is sent. */
export interface Mail {
  kind: MailKind
  /**
   * The kind to use in logs, metrics and limits, if `kind` would reveal whether an address belongs to another
   * account.
   */
  as?: MailKind
  /** Whether a notification is never dropped, because an administrator or a verified mailbox caused it. */
  isUncounted?: boolean
  /** The language of the request. If undefined, the language of the user. */
  language?: Language | undefined
  /** The recipient's address. If undefined, the address that the user has when the mail is sent. */
  to?: string
  /** The one-time token of the link in the mail. */
  token?: string
  /** For how many seconds the link is valid. */
  lives?: number
  /** The request's network address, browser and system, and an address of the account. */
  facts?: {
    ip?: string | undefined
    browser?: string | undefined
    system?: string | undefined
    email?: string
  }
}

const mailPurpose = 'mail'

/** A mail that no key opens is given up when it expires. */
export const sealedMails: SealedColumn = {
  table: 'jobs',
  idColumn: 'id',
  column: 'sealed',
  purpose: () => mailPurpose,
  isLossAccepted: true
}

/** Seals a mail for the job that will send it. */
export const sealMail = (keys: KeyEncryptionKeys, mail: Mail) =>
  seal(keys, mailPurpose, Buffer.from(JSON.stringify(mail)))

/** Unseals what `sealMail` sealed. Throws an UnsealError if no key fits. */
export const unsealMail = (keys: KeyEncryptionKeys, sealed: Buffer): Mail =>
  JSON.parse(unseal(keys, mailPurpose, sealed).toString()) as Mail

/** Seals mails with the keys of the service. Returns undefined if the service sends no mail. */
export type MailSealer = (mail: Mail) => Buffer | undefined

/** For how many seconds a notification is worth sending. */
export const notificationLifetimeSeconds = 3 * 86_400

/** Says that a statement has enqueued a mail, so that this process sends it at once. */
export function publishEnqueuedMail (db: Publisher, mail: Buffer | undefined): void {
  if (mail) db.publish(enqueued, 'mail')
}

const enqueue: Statement = { name: 'mails.enqueue', text: 'select enqueue_mail($1, $2, $3)' }

/**
 * Enqueues a sealed mail to a user. In a transaction, it is sent only if that commits. Does nothing if the
 * mail is undefined because the service sends none.
 */
export async function enqueueMail (
  db: Queryable,
  mail: Buffer | undefined,
  userId: string | undefined,
  lifetimeSeconds = notificationLifetimeSeconds
): Promise<void> {
  if (!mail) return
  await db.query(enqueue, [userId ?? null, mail, lifetimeSeconds])
  publishEnqueuedMail(db, mail)
}
