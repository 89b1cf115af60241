import type { Queryable } from '../database/database.ts'
import * as oneTimeTokens from '../one-time-tokens/one-time-tokens.ts'
import { linkExpired } from '../one-time-tokens/problems.ts'
import type { PasswordOwner } from '../passwords/policy.ts'
import { identifiedByEmail, identify, type IdentifiedAccount } from '../users/credential.ts'
import { confirmationKinds, type ConfirmationSubject } from './address-proofs.ts'
import * as pendingRegistrations from './pending-registrations.ts'

/** A valid link that confirms something about an address. */
export interface ConfirmationLink extends ConfirmationSubject {
  /** The address that is verified or changed to. Other confirmations of it wait for this one. */
  canonical: string
  /** That address, as it was typed. */
  address: string
  /** The owner of a new password, for the password policy. */
  owner: PasswordOwner
  /** The account, and the identifier under which attempts at its password are counted. */
  identified: IdentifiedAccount
  /** The pending registration, if the link is for one. */
  registration: pendingRegistrations.PendingRegistration | undefined
}

/**
 * Finds the link of a token. For `cookieSeconds` after the account was created, the registration cookie
 * proves who set the first password. Throws `link_expired`.
 */
export async function findLink (
  db: Queryable, token: string, cookieSeconds: number
): Promise<ConfirmationLink> {
  const { purpose, userId } = await oneTimeTokens.findSubject(db, token)
  const kind = confirmationKinds.find(kind => kind === purpose)
  if (kind === undefined) throw linkExpired()
  if (kind === 'registration') return await findRegistration(db, userId)
  const account = await oneTimeTokens.find(db, token, [kind])
  const isCookieValid = account.password_version === 1 &&
    account.user_created_at.getTime() + cookieSeconds * 1_000 > account.now.getTime()
  return {
    kind,
    registrationId: isCookieValid ? account.id : undefined,
    accountId: account.id,
    hasPassword: account.password_hash !== null,
    canonical: account.target_canonical_email ?? account.canonical_email,
    address: account.target_email ?? account.email,
    owner: account,
    identified: identifiedByEmail(account),
    registration: undefined
  }
}

async function findRegistration (db: Queryable, id: string): Promise<ConfirmationLink> {
  const registration = await pendingRegistrations.find(db, id)
  if (!registration) throw linkExpired()
  const { canonical_email: canonical, email } = registration
  const identified = await identify(db, { email: canonical }, { includesPending: false })
  const { account } = identified
  if (account && (account.email_verified || account.disabled)) throw linkExpired()
  return {
    kind: 'registration',
    registrationId: id,
    accountId: account?.id,
    hasPassword: true,
    canonical,
    address: email,
    owner: {
      email,
      username: account?.username ?? registration.username,
      name: account?.name ?? registration.name
    },
    identified,
    registration
  }
}
