import * as audit from './audit.ts'
import type { Database } from './db.ts'
import type { Passwords } from './passwords.ts'
import { newId } from './random.ts'
import * as sessions from './sessions.ts'
import type { Lifetimes, LiveSession } from './sessions/session.ts'
import * as users from './users.ts'

export interface Registration {
  email: string
  password: string
  name?: string | null
  username?: string | null
}

/**
 * Makes an account and its first session, both or neither. Throws `validation_failed`, `password_rejected`,
 * `email_taken` or `username_taken`.
 */
export async function register (db: Database, passwords: Passwords, registration: Registration, opening: sessions.Opening, lifetimes: Lifetimes, origin: audit.Origin, signal?: AbortSignal): Promise<LiveSession> {
  const email = users.requireEmail(registration.email)
  const username = registration.username == null ? null : users.requireUsername(registration.username)
  const name = registration.name ?? null
  await passwords.check(registration.password, { email: email.address, username, name })
  const passwordHash = await passwords.hash(registration.password, signal)
  const id = newId()
  return await db.transaction(async tx => {
    await users.create(tx, { id, email, username, name, passwordHash })
    await audit.record(tx, 'user.registered', { userId: id }, { ...origin, actorId: id })
    return await sessions.open(tx, { userId: id, passwordVersion: 1 }, opening, lifetimes, { ...origin, actorId: id })
  })
}
