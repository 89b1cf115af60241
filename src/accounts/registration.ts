import * as audit from '../audit.ts'
import type { Database, Queryable } from '../db.ts'
import * as links from '../links.ts'
import { admit as admitMail } from '../mail/limits.ts'
import { send } from '../mails.ts'
import type { Passwords, Turn } from '../passwords.ts'
import { linkExpired, Problem } from '../problem.ts'
import { newId } from '../random.ts'
import type { Revocation } from '../revocations.ts'
import * as sessions from '../sessions.ts'
import * as users from '../users.ts'
import * as pending from '../users/pending.ts'
import type { Letters } from './letters.ts'
import { startOver, verified } from './mailbox.ts'

export interface Registration {
  email: string
  password: string
  name?: string | null
  username?: string | null
}

/** Who is to be, with a password that may be. Throws `validation_failed` or `password_rejected`. */
async function admit (passwords: Passwords, registration: Registration, { language }: Letters, turn: Turn) {
  const email = users.requireEmail(registration.email)
  const username = registration.username == null ? null : users.requireUsername(registration.username)
  const name = registration.name ?? null
  await passwords.check(registration.password, { email: email.address, username, name })
  return { id: newId(), email, username, name, passwordHash: await passwords.hash(registration.password, turn), language }
}

/**
 * Creates an account and its first session, both or neither. Mails a link that proves the address, unless too
 * many were requested; the user can request another later. Throws `validation_failed`, `password_rejected`,
 * `email_taken` or `username_taken`.
 */
export async function register (db: Database, passwords: Passwords, registration: Registration, letters: Letters, request: sessions.SessionRequest, origin: audit.Origin, turn: Turn): Promise<sessions.CreatedSession> {
  const user = await admit(passwords, registration, letters, turn)
  const { post, lives: { emailVerification: lives }, language, limit } = letters
  const token = links.mintToken()
  const mail = post({ kind: 'email_verification', language, token, lives })
  const buckets = limit.bucketsOf('email_verification', user.email.canonical, lives)
  const by = { ...origin, actorId: user.id }
  const { created, isDropped } = await db.transaction(async tx => {
    await users.create(tx, user)
    await audit.record(tx, 'user.registered', { userId: user.id }, by)
    const created = await sessions.createSession(tx, { userId: user.id, passwordVersion: 1 }, request, by)
    if (!mail) return { created, isDropped: false }
    if (!await admitMail(tx, buckets)) return { created, isDropped: true }
    await links.make(tx, user.id, 'email_verification', token, lives)
    await send(tx, mail, user.id, lives)
    return { created, isDropped: false }
  })
  if (isDropped) limit.onDrop('email_verification')
  return created
}

/**
 * Mails a link that creates the account, or a notification to the owner of the account that has the address.
 * The caller cannot see which. If too many mails to the address were requested, the registration is dropped.
 * Throws `validation_failed`, `password_rejected` or `username_taken`.
 */
export async function applyFor (db: Database, passwords: Passwords, registration: Registration, letters: Letters, turn: Turn): Promise<void> {
  const user = await admit(passwords, registration, letters, turn)
  const { post, lives: { emailVerification: lives }, language, limit } = letters
  const token = links.mintToken()
  const isKept = await pending.add(db, {
    ...user,
    language,
    token,
    lives,
    link: post({ kind: 'email_verification', language, token, lives }),
    taken: post({ kind: 'registration_taken', language }),
    buckets: limit.bucketsOf('email_verification', user.email.canonical, lives)
  })
  if (!isKept) limit.onDrop('email_verification')
}

/**
 * Makes the account that a link was mailed for. Where there is one that has the address and never proved it, nobody can
 * tell which of the two is the owner's: that one stays, and a link to set its password is mailed. Throws `link_expired`.
 */
export async function activate (db: Database, token: string, id: string, letters: Letters, origin: audit.Origin): Promise<Revocation[]> {
  try {
    return await db.transaction(async tx => await settle(tx, token, id, letters, origin, true))
  } catch (error) {
    // Somebody else took the name meanwhile: it was never promised.
    if (error instanceof Problem && error.code === 'username_taken') return await db.transaction(async tx => await settle(tx, token, id, letters, origin, false))
    if (error instanceof Problem && error.code === 'email_taken') throw linkExpired()
    throw error
  }
}

async function settle (tx: Queryable, token: string, id: string, letters: Letters, origin: audit.Origin, named: boolean): Promise<Revocation[]> {
  const registration = await pending.find(tx, id)
  if (!registration) throw linkExpired()
  await links.spend(tx, token)
  const { email: address, canonical_email: canonical, name, password_hash: passwordHash, language } = registration
  const before = await users.unproved(tx, canonical)
  if (before !== undefined) {
    const by = { ...origin, actorId: before }
    await verified(tx, { id: before, canonical_email: canonical, email_verified: false }, by)
    return await startOver(tx, before, letters, 'email_verified', by)
  }
  const by = { ...origin, actorId: id }
  await users.create(tx, { id, email: { address, canonical }, username: named ? registration.username : null, name, passwordHash, language: language ?? undefined }, { proved: true })
  await audit.record(tx, 'user.registered', { userId: id }, by)
  await audit.record(tx, 'user.verified', { userId: id }, by)
  await pending.forgetPending(tx, canonical)
  return []
}
