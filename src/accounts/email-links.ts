import * as audit from '../audit/events.ts'
import type { Database, Queryable } from '../database/database.ts'
import * as links from '../one-time-tokens/one-time-tokens.ts'
import { enqueueMail } from '../mail/outbox.ts'
import type { Passwords, QueueTicket } from '../passwords/passwords.ts'
import type { Revocation } from '../tokens/revocations.ts'
import * as sessions from '../sessions/creation.ts'
import { endAll, lockSessions, type EndReason } from '../sessions/ending.ts'
import type { Throttle } from '../throttle/sign-in-throttle.ts'
import * as users from '../users/users.ts'
import { byAddress, replacePassword } from '../users/credential.ts'
import { forgetPending } from './pending-registrations.ts'
import { notification, type MailContext } from './mail-context.ts'

const lifeOf = { email_verification: 'emailVerification', password_reset: 'passwordReset', magic_link: 'magicLink' } as const
/** What can be asked for by whoever names an address. */
export type Asked = keyof typeof lifeOf

/**
 * Mails a link to an address if there is an account for it and not too many were requested. The time it takes
 * does not depend on the account. Throws `validation_failed` if the text is no address.
 */
export async function request (db: Database, kind: Asked, typed: string, mailContext: MailContext): Promise<void> {
  const { sealMail, language, limit } = mailContext
  const { canonical } = users.requireEmail(typed)
  const token = links.mintToken()
  const lives = mailContext.lives[lifeOf[kind]]
  const mail = sealMail({ kind, language, token, lives })
  const buckets = limit.bucketsOf(kind, canonical, lives)
  const isAdmitted = await links.requestFor(db, { canonical, purpose: kind, token, mail, lives, buckets })
  if (!isAdmitted) limit.onDrop(kind)
}

/** Marks the address of an account as proved; the other accounts that were to have it never will. */
export async function verified (tx: Queryable, { id, canonical_email: canonical, email_verified: before }: Pick<links.Found, 'id' | 'canonical_email' | 'email_verified'>, origin: audit.Origin): Promise<void> {
  if (before) return
  await tx.query('update users set email_verified_at = coalesce(email_verified_at, now()), updated_at = now() where id = $1', [id])
  await audit.record(tx, 'user.verified', { userId: id }, origin)
  await links.endVerifications(tx, id)
  await forgetPending(tx, canonical)
}

/**
 * Leaves an account to whoever reads the mail of its address: the password is void, the sessions end, no other link is
 * good any more, and one is mailed to set a password. Gives what verifiers must know.
 */
export async function startOver (tx: Queryable, userId: string, { sealMail, lives: { passwordReset: lives } }: MailContext, reason: EndReason, origin: audit.Origin): Promise<Revocation[]> {
  await replacePassword(tx, userId, null)
  const ended = await endAll(tx, { userId }, reason, origin)
  await links.endAll(tx, userId)
  const token = links.mintToken()
  await links.make(tx, userId, 'password_reset', token, lives)
  await enqueueMail(tx, sealMail({ kind: 'password_reset', token, lives }), userId, lives)
  return ended
}

/**
 * Sets a new password for whoever has the link; every session ends, every device is a stranger, and no other link is
 * good any more. Gives what verifiers must know. Throws `link_expired` or `password_rejected`; then the link stays as it
 * was.
 */
export async function resetPassword (db: Database, { passwords, throttle }: { passwords: Passwords, throttle: Throttle }, token: string, password: string, mailContext: MailContext, origin: audit.Origin, ticket: QueueTicket): Promise<Revocation[]> {
  const found = await links.look(db, token, ['password_reset'])
  await passwords.check(password, found)
  const hash = await passwords.hash(password, ticket)
  return await db.transaction(async tx => {
    const account = await links.redeem(tx, token, ['password_reset'])
    const by = { ...origin, actorId: account.id }
    await verified(tx, account, by)
    await replacePassword(tx, account.id, hash)
    await audit.record(tx, 'user.password_reset', { userId: account.id }, by)
    const ended = await endAll(tx, { userId: account.id }, 'password_reset', by)
    await links.endAll(tx, account.id)
    await enqueueMail(tx, notification(mailContext, 'password_changed', origin, account.email), account.id)
    await throttle.reset(tx, { ...byAddress(account), userId: account.id, network: ticket.network ?? '' })
    return ended
  })
}

/**
 * Opens a session for whoever has the link. A password that was set before anybody had proved to own the address, and
 * the sessions made with it, are nobody's any more. Throws `link_expired`.
 */
export async function followMagicLink (db: Database, token: string, request: Omit<sessions.SessionRequest, 'methods'>, origin: audit.Origin): Promise<sessions.CreatedSession> {
  return await db.transaction(async tx => {
    const account = await links.redeem(tx, token, ['magic_link'])
    const by = { ...origin, actorId: account.id }
    await verified(tx, account, by)
    const isForeign = !account.email_verified
    const passwordVersion = isForeign ? await replacePassword(tx, account.id, null) : account.password_version
    if (isForeign) await lockSessions(tx, account.id, request.replaced?.ids ?? [])
    const before = isForeign ? await endAll(tx, { userId: account.id }, 'email_verified', by) : []
    await links.endAll(tx, account.id)
    const { session, ended } = await sessions.createSession(tx, { userId: account.id, passwordVersion }, { ...request, methods: ['otp'] }, by)
    return { session, ended: [...before, ...ended] }
  })
}
