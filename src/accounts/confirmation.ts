import type { AuthenticationServices } from '../authentication/password-verification.ts'
import type { RequestContext } from '../authentication/request-context.ts'
import { Problem, type ProblemCode } from '../http/problem.ts'
import { linkExpired } from '../one-time-tokens/problems.ts'
import { recordSuccess, refund } from '../throttle/sign-in-throttle.ts'
import { chooseProof, effects, methodsFor } from './address-proofs.ts'
import { applyEffect } from './confirmation-effects.ts'
import { findLink } from './confirmation-link.ts'
import { examineProof, type Confirmation } from './confirmation-proof.ts'
import * as pendingRegistrations from './pending-registrations.ts'
import { passwordRequired } from './problems.ts'

/**
 * Does what a mailed link is for, once: verifies the address of an account, completes a pending registration,
 * changes an address, or changes it back. The table in `address-proofs.ts` says which proofs are accepted.
 * Throws `link_expired` or `email_taken`. Also throws `password_required`, `invalid_credentials`,
 * `too_many_requests`, `password_rejected` or `validation_failed`; the link then stays valid.
 */
export async function confirm (
  services: AuthenticationServices,
  confirmation: Confirmation,
  { mail, origin }: Omit<RequestContext, 'ticket'>
): Promise<void> {
  const { db, throttle } = services
  const { token, evidence, ticket } = confirmation
  const link = await findLink(db, token, mail.lives.emailVerificationSeconds)
  const kind = chooseProof(link, evidence)
  const effect = effects[link.kind][kind]
  if (effect === 'ask') throw passwordRequired(methodsFor(link))
  const proof = await examineProof(services, confirmation, { link, kind }, origin)
  const step = { token, link, proof, mail, throttle, network: ticket.network ?? '', origin }
  const perform = async (isNamed: boolean) => await db.transaction(async tx => {
    // Every transaction that gives this address to an account takes this lock first, before a lock on a user.
    await pendingRegistrations.lockAddress(tx, link.canonical)
    await applyEffect(tx, effect, { ...step, isNamed })
    if (proof.attempt) await recordSuccess(tx, proof.attempt)
  })
  try {
    // The username was not reserved. If another account took it meanwhile, the account is created without it.
    return await perform(true).catch(async (error: unknown) => {
      if (hasCode(error, 'username_taken')) return await perform(false)
      throw error
    })
  } catch (error) {
    // The password was correct, so an attempt that failed for another reason does not count.
    if (proof.attempt) await refund(db, proof.attempt).catch(() => {})
    if (link.registration && hasCode(error, 'email_taken')) throw linkExpired()
    throw error
  }
}

const hasCode = (error: unknown, code: ProblemCode) => error instanceof Problem && error.code === code
