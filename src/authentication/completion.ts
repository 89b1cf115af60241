import * as audit from '../audit/events.ts'
import type { Queryable } from '../database/database.ts'
import type { Problem } from '../http/problem.ts'
import * as sessions from '../sessions/creation.ts'
import type { LiveSession } from '../sessions/session.ts'
import { refund, type CountedAttempt } from '../throttle/sign-in-throttle.ts'
import type { Credential } from '../users/credential.ts'

/** What a way in has verified. It holds only while the credential is unchanged. */
export interface AuthenticationProof extends Credential {
  /** How the user proved who they are (RFC 8176). */
  methods: string[]
  isEmailVerified: boolean
  /** The counted attempt at a password, which success takes off the counters. */
  attempt?: CountedAttempt
  /** The sealed mail that asks the owner whether it was them. */
  notification?: Buffer | undefined
}

/**
 * Something that must hold before a session may exist, beside the proof. A requirement is added to the list
 * of the application, and then holds for every way in.
 */
export interface SignInRequirement {
  /** Resolves to the problem that tells the caller what is still needed. Undefined if nothing is. */
  findMissing: (tx: Queryable, proof: AuthenticationProof) => Promise<Problem | undefined>
}

/** What the caller asks of the session. */
export interface SignInRequest extends Omit<sessions.SessionRequest, 'methods' | 'attempt' | 'notification'> {
  requirements: readonly SignInRequirement[]
}

/** A new session, or the problem that names what is still needed before there is one. */
export type Completion = { session: LiveSession } | { pending: Problem }

/**
 * Completes a sign-in: every way in ends here, and only here is a session made. Throws `invalid_credentials`
 * if the credential has changed since it was verified, or the account is disabled.
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
  const asked = { ...session, methods, ...attempt && { attempt }, notification }
  const by = { ...origin, actorId: userId }
  return { session: await sessions.createSession(tx, { userId, passwordVersion }, asked, by) }
}
