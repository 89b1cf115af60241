import * as audit from '../audit/events.ts'
import type { Queryable } from '../database/database.ts'
import type { Problem } from '../http/problem.ts'
import * as sessions from '../sessions/creation.ts'
import type { LiveSession } from '../sessions/session.ts'
import { refund, type CountedAttempt } from '../throttle/sign-in-throttle.ts'
import type { Credential } from '../users/credential.ts'

/** What a way to sign in has verified. It is valid only while the credential is unchanged. */
export interface AuthenticationProof extends Credential {
  /** How the user authenticated (RFC 8176). */
  methods: string[]
  isEmailVerified: boolean
  /** The counted attempt at a password. A successful sign-in removes it from the counters. */
  attempt?: CountedAttempt
  /** The sealed mail that notifies the owner of a sign-in on an unknown device. */
  notification?: Buffer | undefined
}

/**
 * Something that must hold, in addition to the proof, before a session is created. A requirement in the list
 * of the application applies to every way to sign in.
 */
export interface SignInRequirement {
  /** Resolves to the problem that says what is still needed. Resolves to undefined if nothing is. */
  findMissing: (tx: Queryable, proof: AuthenticationProof) => Promise<Problem | undefined>
}

/** The session that the caller requests, and the requirements that must hold. */
export interface SignInRequest extends Omit<sessions.SessionRequest, 'methods' | 'attempt' | 'notification'> {
  requirements: readonly SignInRequirement[]
}

/** A new session, or the problem that says what is still needed. */
export type Completion = { session: LiveSession } | { pending: Problem }

/**
 * Completes a sign-in. Every way to sign in ends here, and only this function creates a first-party session.
 * A client session comes from an authorization code (src/delegation/authorization-codes.ts). Throws
 * `invalid_credentials` if the credential has changed since it was verified, or the account is disabled.
 */
export async function complete (
  tx: Queryable, proof: AuthenticationProof, request: SignInRequest, origin: audit.Origin
): Promise<Completion> {
  const { userId, passwordVersion, methods, attempt, notification } = proof
  const { requirements, ...session } = request
  for (const { findMissing } of requirements) {
    const pending = await findMissing(tx, proof)
    if (!pending) continue
    await audit.record(tx, 'login.failed', { userId, detail: { reason: pending.code } }, origin)
    if (attempt) await refund(tx, attempt)
    return { pending }
  }
  const sessionRequest = { ...session, methods, ...attempt && { attempt }, notification }
  const userOrigin = { ...origin, actorId: userId }
  const credential = { userId, passwordVersion }
  return { session: await sessions.createSession(tx, credential, sessionRequest, userOrigin) }
}
