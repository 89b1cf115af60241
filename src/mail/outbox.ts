import type { Queryable } from '../database/database.ts'
import { insertion } from '../jobs/queue.ts'
import { open, seal, type KeyEncryptionKeys } from '../crypto/sealing.ts'

/** What is mailed: each is a template, in each of the languages. */
export const mailKinds = [
  // With a link to use once.
  'email_verification', 'password_reset', 'magic_link', 'invitation', 'email_change',
  // Notifications. The old address is told when a change is requested, and when it is done, with a link to
  // undo it. The others go to the address of the account.
  'email_change_requested', 'email_changed', 'registration_taken', 'password_changed', 'new_sign_in', 'session_replayed', 'account_deleted'
] as const
export type MailKind = typeof mailKinds[number]

export const languages = ['en', 'de'] as const
export type Language = typeof languages[number]

/** A mail to be written when it is sent. */
export interface Mail {
  kind: MailKind
  /** What it is told as, where that of `kind` would tell somebody else whose the address is. */
  as?: MailKind
  /**
   * Whether a notification is never dropped, because an administrator or the proof of a mailbox caused it.
   */
  isUncounted?: boolean
  /** Of the request that it is sent for; the user's where undefined. */
  language?: Language | undefined
  /** Where it goes; the address that the user has when it is sent where undefined. */
  to?: string
  /** What the link in it carries. */
  token?: string
  /** Seconds that the link is good for. */
  lives?: number
  /** What it tells of the request: an address of the network, a browser, a system; of the account: an address. */
  facts?: { ip?: string | undefined, browser?: string | undefined, system?: string | undefined, email?: string }
}

/** What a sealed mail is bound to. */
export const mailPurpose = 'mail'

/** A mail as a job keeps it. */
export const sealMail = (keys: KeyEncryptionKeys, mail: Mail) => seal(keys, mailPurpose, Buffer.from(JSON.stringify(mail)))

/** Reads what `sealed` made; throws an UnsealError where no key fits. */
export const unsealMail = (keys: KeyEncryptionKeys, text: Buffer): Mail => JSON.parse(open(keys, mailPurpose, text).toString()) as Mail

/** Makes mails into jobs; undefined where no mail is set up. */
export type SealMail = (mail: Mail) => Buffer | undefined

/** Seconds for which the news of something that happened is worth sending. */
export const newsLives = 3 * 86_400

/** The part of a statement that adds a mail to the user of each row of `from`, unless the parameter `sealed` is null. `lives` is in seconds. */
export const posting = (sealed: string, user: string, lives: string, from: string) =>
  insertion('mail', { user, sealed: `${sealed}::bytea`, lives }, `${from} where ${sealed}::bytea is not null`)

const statement = { name: 'mails.send', text: posting('$1', '$2::uuid', '$3', '(select) as always') }

/** Adds a mail to a user; in a transaction it is sent only if that is committed. Nothing where no mail is set up. */
export async function enqueueMail (db: Queryable, mail: Buffer | undefined, userId: string | undefined, lives = newsLives): Promise<void> {
  if (mail) await db.query(statement, [mail, userId ?? null, lives])
}
