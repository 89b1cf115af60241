import { validationFailed } from '../http/problems.ts'
import type { ConfirmationMethod } from './problems.ts'

/** The links that confirm something about an address. */
export const confirmationKinds = ['registration', 'email_verification', 'email_change', 'email_undo'] as const
export type ConfirmationKind = typeof confirmationKinds[number]

/** What a caller presents with the link. The link proves the mailbox; this proves who set the password. */
export type ProofKind = 'cookie' | 'session' | 'password' | 'new_password' | 'none'

/**
 * What a confirmation does.
 * - `complete`: the registration becomes an account, or takes over the unverified account of its address.
 * - `verify`: the address of the account is verified, and the account stays as it is.
 * - `replace`: like `complete` or `verify`, and the new password replaces the earlier one and ends its
 *   sessions and links.
 * - `change`, `undo`: the account gets the address that the link is for.
 * - `ask`: 409 `password_required`, and the link stays valid.
 * - `reject`: 400 `validation_failed`, and the link stays valid.
 */
export type ConfirmationEffect = 'complete' | 'verify' | 'replace' | 'change' | 'undo' | 'ask' | 'reject'

/**
 * The person who proves an address and the person who set the password must not share an account, unless they
 * are the same (account pre-hijacking). docs/confirming-addresses.md has the same table.
 */
export const effects: Record<ConfirmationKind, Record<ProofKind, ConfirmationEffect>> = {
  registration: {
    cookie: 'complete', session: 'verify', password: 'complete', new_password: 'replace', none: 'ask'
  },
  email_verification: {
    cookie: 'verify', session: 'verify', password: 'verify', new_password: 'replace', none: 'ask'
  },
  email_change: { cookie: 'change', session: 'change', password: 'change', new_password: 'ask', none: 'ask' },
  email_undo: { cookie: 'undo', session: 'undo', password: 'undo', new_password: 'reject', none: 'undo' }
}

/** The facts about a link that decide which proofs are accepted. */
export interface ConfirmationSubject {
  kind: ConfirmationKind
  /** The registration whose cookie is a proof. */
  registrationId: string | undefined
  /** The account whose sessions are a proof. */
  accountId: string | undefined
  /** Whether there is a password to present. */
  hasPassword: boolean
}

/** A live session, and its user. */
export interface ShownSession { id: string, userId: string }

/** What a request has in addition to the token of the link. */
export interface Evidence {
  registrationId?: string | undefined
  sessions?: readonly ShownSession[]
  password?: string | undefined
  newPassword?: string | undefined
}

/**
 * Chooses the proof that counts. A password in the request is verified even if there is a cookie or a
 * session. Throws `validation_failed` if a new password comes with another proof, because the intent is not
 * clear.
 */
export function chooseProof (
  subject: ConfirmationSubject,
  { registrationId, sessions = [], password, newPassword }: Evidence
): ProofKind {
  const { kind } = subject
  if (newPassword !== undefined && password !== undefined) throw combinationRejected('`password`')
  const hasCookie = registrationId !== undefined && registrationId === subject.registrationId
  const hasSession = sessionFor(subject, sessions) !== undefined
  if (newPassword !== undefined) {
    if (effects[kind].new_password === 'reject') {
      throw combinationRejected('a link that changes an address back')
    }
    if (hasCookie) throw combinationRejected('the cookie of the registration')
    if (hasSession) throw combinationRejected('a session of the account')
    return 'new_password'
  }
  if (password !== undefined && effects[kind].none === 'ask') return 'password'
  return hasCookie ? 'cookie' : hasSession ? 'session' : 'none'
}

/** Finds the session of the account. */
export const sessionFor = ({ accountId }: ConfirmationSubject, sessions: readonly ShownSession[] = []) =>
  sessions.find(({ userId }) => userId === accountId)

function combinationRejected (proof: string) {
  const detail = 'must not be combined with another proof'
  const violations = [{ pointer: '/new_password', detail }]
  return validationFailed(`\`new_password\` must not be combined with ${proof}.`, violations)
}

/** Lists the proofs that would confirm this link, for a caller who presented none. */
export function methodsFor ({ kind, accountId, hasPassword }: ConfirmationSubject): ConfirmationMethod[] {
  const isPossible = { session: accountId !== undefined, password: hasPassword, new_password: true }
  const methods: ConfirmationMethod[] = ['session', 'password', 'new_password']
  return methods.filter(method => isPossible[method] && effects[kind][method] !== 'ask')
}
