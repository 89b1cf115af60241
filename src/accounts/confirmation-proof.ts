import type * as audit from '../audit/events.ts'
import type { Device } from '../authentication/known-device.ts'
import {
  verifyPassword, verifyPendingPassword, type AuthenticationServices
} from '../authentication/password-verification.ts'
import type { QueueTicket } from '../passwords/passwords.ts'
import type { CountedAttempt } from '../throttle/sign-in-throttle.ts'
import { methodsFor, sessionFor, type Evidence, type ProofKind } from './address-proofs.ts'
import type { ConfirmationLink } from './confirmation-link.ts'
import { wrongConfirmingPassword } from './problems.ts'

/** A request to do what a mailed link is for. */
export interface Confirmation {
  token: string
  evidence: Evidence
  device: Device | undefined
  ticket: QueueTicket
}

/** What was proved in addition to the link. The transaction checks it again. */
export interface ConfirmationProof {
  kind: ProofKind
  sessionId: string | undefined
  /** The version of the password that was verified. */
  passwordVersion: number | undefined
  attempt: CountedAttempt | undefined
  /** The hash of a new password. */
  hash: string | undefined
}

/** The link to confirm, and the kind of proof that the request has. */
export interface ExpectedProof { link: ConfirmationLink, kind: ProofKind }

/** Verifies the password of a proof, or hashes the new one. Holds no database connection meanwhile. */
export async function examineProof (
  services: AuthenticationServices,
  { evidence, device, ticket }: Confirmation,
  { link, kind }: ExpectedProof,
  origin: audit.Origin
): Promise<ConfirmationProof> {
  const { passwords } = services
  const { sessions, password, newPassword } = evidence
  const proof: ConfirmationProof = {
    kind,
    sessionId: kind === 'session' ? sessionFor(link, sessions)?.id : undefined,
    passwordVersion: undefined,
    attempt: undefined,
    hash: undefined
  }
  if (kind === 'new_password' && newPassword !== undefined) {
    await passwords.check(newPassword, link.owner)
    return { ...proof, hash: await passwords.hash(newPassword, ticket) }
  }
  if (kind !== 'password' || password === undefined) return proof
  const mismatch = () => wrongConfirmingPassword(methodsFor(link))
  const { registration, identified: subject } = link
  if (registration) {
    const presented = { subject, hash: registration.password_hash, password, ticket, mismatch }
    return { ...proof, attempt: await verifyPendingPassword(services, presented, origin) }
  }
  const attempt = { subject, password, device, ticket, mismatch }
  const verified = await verifyPassword(services, attempt, origin)
  return { ...proof, attempt: verified.attempt, passwordVersion: verified.passwordVersion }
}
