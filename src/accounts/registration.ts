import * as audit from '../audit/events.ts'
import { complete, type Completion, type SignInRequest } from '../authentication/completion.ts'
import type { AuthenticationServices } from '../authentication/password-verification.ts'
import type { RequestContext } from '../authentication/request-context.ts'
import { newId } from '../crypto/random.ts'
import { countMail } from '../mail/limits.ts'
import { factsOf } from '../mail/mail-context.ts'
import { enqueueMail } from '../mail/outbox.ts'
import * as oneTimeTokens from '../one-time-tokens/one-time-tokens.ts'
import * as users from '../users/users.ts'
import * as pendingRegistrations from './pending-registrations.ts'

/** What a person enters to sign up. */
export interface Registration {
  email: string
  password: string
  name?: string | null
  username?: string | null
}

/** Validates a registration, and returns its new user. Throws `validation_failed` or `password_rejected`. */
async function validateRegistration (
  { passwords }: AuthenticationServices,
  registration: Registration,
  { mail: { language }, ticket }: RequestContext
): Promise<users.NewUser & { passwordHash: string }> {
  const email = users.requireEmail(registration.email)
  const username = registration.username == null ? null : users.requireUsername(registration.username)
  const name = registration.name ?? null
  await passwords.check(registration.password, { email: email.address, username, name })
  const passwordHash = await passwords.hash(registration.password, ticket)
  return { id: newId(), email, username, name, passwordHash, language }
}

/**
 * Creates an account and signs its user in, in one transaction. Mails a link that verifies the address,
 * unless too many were requested; the user can request another one later. Throws `validation_failed`,
 * `password_rejected`, `email_taken` or `username_taken`.
 */
export async function register (
  services: AuthenticationServices,
  registration: Registration,
  request: SignInRequest,
  context: RequestContext
): Promise<{ userId: string, completion: Completion }> {
  const user = await validateRegistration(services, registration, context)
  const { sealMail, lives: { emailVerificationSeconds: lives }, language, limit, origin } = context.mail
  const token = oneTimeTokens.generateToken()
  const mail = sealMail({ kind: 'email_verification', language, token, lives, facts: factsOf(origin) })
  const buckets = limit.bucketsOf('email_verification', user.email.canonical, lives)
  const proof = { userId: user.id, passwordVersion: 1, methods: ['pwd'], isEmailVerified: false }
  const userOrigin = { ...context.origin, actorId: user.id }
  const { completion, isDropped } = await services.db.transaction(async tx => {
    await users.create(tx, user)
    await audit.record(tx, 'user.registered', { userId: user.id }, userOrigin)
    const completion = await complete(tx, proof, request, userOrigin)
    if (!mail) return { completion, isDropped: false }
    if (!await countMail(tx, buckets)) return { completion, isDropped: true }
    await oneTimeTokens.issue(tx, {
      userId: user.id, purpose: 'email_verification', token, lifetimeSeconds: lives
    })
    await enqueueMail(tx, mail, user.id, lives)
    return { completion, isDropped: false }
  })
  if (isDropped) limit.onDrop('email_verification')
  return { userId: user.id, completion }
}

/**
 * Mails a link that creates the account, or a notification to the owner of the account that has the address.
 * The result does not reveal which. If too many mails to the address were requested, the registration is
 * dropped. Returns the id of the registration. Throws `validation_failed`, `password_rejected` or
 * `username_taken`.
 */
export async function requestRegistration (
  services: AuthenticationServices, registration: Registration, context: RequestContext
): Promise<string> {
  const user = await validateRegistration(services, registration, context)
  const { sealMail, lives: { emailVerificationSeconds: lives }, language, limit, origin } = context.mail
  const token = oneTimeTokens.generateToken()
  const facts = factsOf(origin)
  const isStored = await pendingRegistrations.add(services.db, {
    ...user,
    language,
    token,
    lives,
    link: sealMail({ kind: 'email_verification', language, token, lives, facts }),
    taken: sealMail({ kind: 'registration_taken', language, facts }),
    buckets: limit.bucketsOf('email_verification', user.email.canonical, lives)
  })
  if (!isStored) limit.onDrop('email_verification')
  return user.id
}
