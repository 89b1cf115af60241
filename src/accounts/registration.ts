import * as audit from '../audit/events.ts'
import type { Database } from '../database/database.ts'
import * as links from '../one-time-tokens/one-time-tokens.ts'
import { admit as admitMail } from '../mail/limits.ts'
import { enqueueMail } from '../mail/outbox.ts'
import type { Passwords, QueueTicket } from '../passwords/passwords.ts'
import { newId } from '../crypto/random.ts'
import * as sessions from '../sessions/creation.ts'
import * as users from '../users/users.ts'
import * as pending from './pending-registrations.ts'
import type { MailContext } from './mail-context.ts'

export interface Registration {
  email: string
  password: string
  name?: string | null
  username?: string | null
}

/** Who is to be, with a password that may be. Throws `validation_failed` or `password_rejected`. */
async function admit (passwords: Passwords, registration: Registration, { language }: MailContext, ticket: QueueTicket) {
  const email = users.requireEmail(registration.email)
  const username = registration.username == null ? null : users.requireUsername(registration.username)
  const name = registration.name ?? null
  await passwords.check(registration.password, { email: email.address, username, name })
  return { id: newId(), email, username, name, passwordHash: await passwords.hash(registration.password, ticket), language }
}

/**
 * Creates an account and its first session, both or neither. Mails a link that proves the address, unless too
 * many were requested; the user can request another later. Throws `validation_failed`, `password_rejected`,
 * `email_taken` or `username_taken`.
 */
export async function register (db: Database, passwords: Passwords, registration: Registration, mailContext: MailContext, request: sessions.SessionRequest, origin: audit.Origin, ticket: QueueTicket): Promise<sessions.CreatedSession> {
  const user = await admit(passwords, registration, mailContext, ticket)
  const { sealMail, lives: { emailVerification: lives }, language, limit } = mailContext
  const token = links.mintToken()
  const mail = sealMail({ kind: 'email_verification', language, token, lives })
  const buckets = limit.bucketsOf('email_verification', user.email.canonical, lives)
  const by = { ...origin, actorId: user.id }
  const { created, isDropped } = await db.transaction(async tx => {
    await users.create(tx, user)
    await audit.record(tx, 'user.registered', { userId: user.id }, by)
    const created = await sessions.createSession(tx, { userId: user.id, passwordVersion: 1 }, request, by)
    if (!mail) return { created, isDropped: false }
    if (!await admitMail(tx, buckets)) return { created, isDropped: true }
    await links.make(tx, user.id, 'email_verification', token, lives)
    await enqueueMail(tx, mail, user.id, lives)
    return { created, isDropped: false }
  })
  if (isDropped) limit.onDrop('email_verification')
  return created
}

/**
 * Mails a link that creates the account, or a notification to the owner of the account that has the address.
 * The caller cannot see which. If too many mails to the address were requested, the registration is dropped.
 * Returns the id of the registration. Throws `validation_failed`, `password_rejected` or `username_taken`.
 */
export async function applyFor (db: Database, passwords: Passwords, registration: Registration, mailContext: MailContext, ticket: QueueTicket): Promise<string> {
  const user = await admit(passwords, registration, mailContext, ticket)
  const { sealMail, lives: { emailVerification: lives }, language, limit } = mailContext
  const token = links.mintToken()
  const isKept = await pending.add(db, {
    ...user,
    language,
    token,
    lives,
    link: sealMail({ kind: 'email_verification', language, token, lives }),
    taken: sealMail({ kind: 'registration_taken', language }),
    buckets: limit.bucketsOf('email_verification', user.email.canonical, lives)
  })
  if (!isKept) limit.onDrop('email_verification')
  return user.id
}
