import * as audit from '../audit.ts'
import type { Database } from '../db.ts'
import * as links from '../links.ts'
import { send } from '../mails.ts'
import type { Passwords, Turn } from '../passwords.ts'
import { newId } from '../random.ts'
import * as sessions from '../sessions.ts'
import type { Lifetimes, LiveSession } from '../sessions/session.ts'
import * as users from '../users.ts'
import * as pending from '../users/pending.ts'
import type { Letters } from './letters.ts'

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
 * Makes an account and its first session, both or neither, and mails a link that proves the address. Throws
 * `validation_failed`, `password_rejected`, `email_taken` or `username_taken`.
 */
export async function register (db: Database, passwords: Passwords, registration: Registration, letters: Letters, opening: sessions.Opening, lifetimes: Lifetimes, origin: audit.Origin, turn: Turn): Promise<LiveSession> {
  const user = await admit(passwords, registration, letters, turn)
  const { post, lives: { emailVerification: lives }, language } = letters
  const token = links.mintToken()
  const mail = post({ kind: 'email_verification', language, token, lives })
  const by = { ...origin, actorId: user.id }
  return await db.transaction(async tx => {
    await users.create(tx, user)
    await audit.record(tx, 'user.registered', { userId: user.id }, by)
    if (mail) await links.make(tx, user.id, 'email_verification', token, lives)
    await send(tx, mail, user.id, lives)
    return await sessions.open(tx, { userId: user.id, passwordVersion: 1 }, opening, lifetimes, by)
  })
}

/**
 * Mails a link that makes the account, or to the owner of the one that has the address, the news; which of them
 * shows nowhere. Gives the id of the registration. Throws `validation_failed`, `password_rejected` or `username_taken`.
 */
export async function applyFor (db: Database, passwords: Passwords, registration: Registration, letters: Letters, turn: Turn): Promise<string> {
  const user = await admit(passwords, registration, letters, turn)
  const { post, lives: { emailVerification: lives }, language } = letters
  const token = links.mintToken()
  await pending.add(db, {
    ...user,
    language,
    token,
    lives,
    link: post({ kind: 'email_verification', language, token, lives }),
    taken: post({ kind: 'registration_taken', language })
  })
  return user.id
}
