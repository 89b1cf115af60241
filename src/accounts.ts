import * as audit from './audit.ts'
import type { Database } from './db.ts'
import { prove, type Claim, type PasswordDesk } from './password-proof.ts'
import type { Passwords, Turn } from './passwords.ts'
import { forbiddenCredentials, invalidCredentials } from './problem.ts'
import { newId } from './random.ts'
import type { Revocation } from './revocations.ts'
import * as sessions from './sessions.ts'
import { endAll } from './sessions/own.ts'
import type { Lifetimes, LiveSession } from './sessions/session.ts'
import { release, succeed } from './throttle.ts'
import * as users from './users.ts'
import { setPassword } from './users/credential.ts'

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
export async function register (db: Database, passwords: Passwords, registration: Registration, opening: sessions.Opening, lifetimes: Lifetimes, origin: audit.Origin, turn: Turn): Promise<LiveSession> {
  const email = users.requireEmail(registration.email)
  const username = registration.username == null ? null : users.requireUsername(registration.username)
  const name = registration.name ?? null
  await passwords.check(registration.password, { email: email.address, username, name })
  const passwordHash = await passwords.hash(registration.password, turn)
  const id = newId()
  return await db.transaction(async tx => {
    await users.create(tx, { id, email, username, name, passwordHash })
    await audit.record(tx, 'user.registered', { userId: id }, { ...origin, actorId: id })
    return await sessions.open(tx, { userId: id, passwordVersion: 1 }, opening, lifetimes, { ...origin, actorId: id })
  })
}

/** How a session is to be opened, and how many the user may have. */
export interface SignIn extends sessions.Opening { lifetimes: Lifetimes, sessionLimit: number | undefined }

/** Opens a session for a password. Throws as `prove` does, `invalid_credentials` where that says `wrong`. */
export async function signIn (db: Database, desk: PasswordDesk, claim: Claim, { lifetimes, sessionLimit, ...opening }: SignIn, origin: audit.Origin): Promise<LiveSession> {
  const { attempt, turn: _turn, ...credential } = await prove(db, desk, claim, invalidCredentials, origin)
  return await sessions.openWithin(db, sessionLimit, credential, { ...opening, attempt }, lifetimes, { ...origin, actorId: credential.userId })
}

/** A password that was changed: what verifiers must know, and from when on devices are known anew. */
export interface PasswordChange { ended: Revocation[], devicesKnownFrom: Date }

/**
 * Sets a new password for a signed-in user who proves the old one; every other session ends with it, and every device
 * is forgotten. Throws `password_rejected`, and as `prove` does, for a wrong one `invalid_credentials` with status 403.
 */
export async function changePassword (db: Database, desk: PasswordDesk, claim: Claim, newPassword: string, sessionId: string, origin: audit.Origin): Promise<PasswordChange> {
  const { account } = claim.of
  if (account) await desk.passwords.check(newPassword, account)
  const proof = await prove(db, desk, claim, forbiddenCredentials, origin)
  const hash = await desk.passwords.hash(newPassword, proof.turn).catch(async (error: unknown) => {
    // It was right: whoever comes back as they are told has not failed.
    await release(db, proof.attempt).catch(() => {})
    throw error
  })
  return await db.transaction(async tx => {
    const devicesKnownFrom = await setPassword(tx, proof, hash, origin)
    if (!devicesKnownFrom) throw forbiddenCredentials()
    const ended = await endAll(tx, proof.userId, sessionId, 'password_changed', origin)
    await succeed(tx, proof.attempt)
    return { ended, devicesKnownFrom }
  })
}
