import type { Client } from '../clients/records.ts'
import type { BrowserSession } from '../sessions/browser-session.ts'
import type { AuthorizationErrorCode, AuthorizationRequest } from './authorization-request.ts'

/** What the user has done for this request. Another request, a reload or another tab does not count. */
export interface RequestProgress {
  /** Whether the user has authenticated for it. */
  hasSignedIn: boolean
  /** Whether the user has given consent to it. */
  hasConsented: boolean
}

/** The facts that a decision is made from. */
export interface DecisionFacts {
  request: AuthorizationRequest
  client: Pick<Client, 'first_party' | 'application_type' | 'token_endpoint_auth_method'>
  /** The browser session; undefined if no user is signed in. */
  session: BrowserSession | undefined
  progress: RequestProgress
}

/** What comes next for an authorization request. */
export type NextStep =
  { kind: 'sign_in' } |
  { kind: 'sign_up' } |
  { kind: 'consent', session: BrowserSession } |
  { kind: 'error', code: AuthorizationErrorCode, description: string } |
  { kind: 'code', session: BrowserSession }

const error = (code: AuthorizationErrorCode, description: string): NextStep =>
  ({ kind: 'error', code, description })

/** Decides what comes next for an authorization request (OpenID Connect Core section 3.1.2). */
export function decide (facts: DecisionFacts): NextStep {
  const { request: { prompt }, session, progress } = facts
  const isExpected = isExpectedUser(facts)
  if (prompt.includes('none')) {
    if (!session || !isFresh(facts) || !isExpected || facts.request.expectedUserId === null) {
      return error('login_required', 'The user must sign in.')
    }
    if (isPublicNative(facts)) {
      return error('interaction_required', 'A native application cannot prove who it is without the user.')
    }
    if (!isCovered(facts, session)) return error('consent_required', 'The user must give consent.')
    return { kind: 'code', session }
  }
  if (progress.hasSignedIn && session) {
    if (!isExpected) return error('login_required', 'Another user signed in than the client expects.')
  } else {
    const isForced = prompt.includes('login') || prompt.includes('select_account')
    if (prompt.includes('create')) return { kind: 'sign_up' }
    if (!session || isForced || !isFresh(facts) || !isExpected) return { kind: 'sign_in' }
  }
  return needsConsent(facts, session) ? { kind: 'consent', session } : { kind: 'code', session }
}

const isExpectedUser = ({ session, request: { expectedUserId } }: DecisionFacts) =>
  expectedUserId == null || session?.user.id === expectedUserId

/** Whether the user authenticated recently enough, by the database's clock. */
const isFresh = ({ request: { maxAge }, session }: DecisionFacts) => maxAge === undefined ||
  (session !== undefined && session.now.getTime() - session.authenticatedAt.getTime() <= maxAge * 1_000)

/** RFC 8252 section 8.6: another application may pretend to be it, so the user must take part. */
const isPublicNative = ({ client }: DecisionFacts) =>
  client.application_type === 'native' && client.token_endpoint_auth_method === 'none'

function needsConsent (facts: DecisionFacts, session: BrowserSession): boolean {
  const { request: { prompt }, progress } = facts
  if (progress.hasConsented) return false
  if (prompt.includes('consent')) return true
  return !isCovered(facts, session) || (isPublicNative(facts) && !progress.hasSignedIn)
}

/** Whether the user has allowed the client everything that it requests, or need not be asked. */
function isCovered (
  { request: { scope, audience }, client }: DecisionFacts, { consent }: BrowserSession
): boolean {
  if (client.first_party) return true
  return consent !== undefined && scope.every(each => consent.scopes.includes(each)) &&
    audience.every(each => consent.audiences.includes(each))
}
