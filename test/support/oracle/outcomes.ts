import type { Answer } from '../client.ts'
import { type AuthorizationAttempt, type TestClient } from '../delegation.ts'
import { claimsOf } from '../jwt.ts'
import type { SignOutEnd } from './parties.ts'

// These functions describe what a client or its user sees of an answer. They leave out what each provider may
// choose.

const locationOf = ({ headers }: Answer, issuer: string): URL | undefined =>
  headers['location'] === undefined ? undefined : new URL(String(headers['location']), issuer)

const isHtml = ({ headers }: Answer) => /^text\/html/.test(String(headers['content-type']))
const classOf = (status: number) => `${Math.floor(status / 100)}xx`

/** Our sign-in page lets the user choose the account. */
const pages: Record<string, string> = {
  '/sign-in': 'login',
  '/consent': 'consent',
  '/sign-up': 'create',
  '/interaction/login': 'login',
  '/interaction/consent': 'consent',
  '/interaction/select_account': 'login',
  '/interaction/create': 'create'
}

/** Describes the result of an authorization request: `code`, an error code, or a page. */
export function authorizationOutcome (
  answer: Answer, issuer: string, { state, redirectUri }: Pick<AuthorizationAttempt, 'state'> & {
    redirectUri: string
  }
): string {
  const location = locationOf(answer, issuer)
  if (location === undefined) return `${isHtml(answer) ? 'page' : 'no page'} ${classOf(answer.status)}`
  const [, page = ''] = /^(\/[a-z-]+(?:\/[a-z_]+)?)/.exec(location.pathname) ?? []
  if (location.origin === new URL(issuer).origin) return `page: ${pages[page] ?? location.pathname}`
  if (!location.href.startsWith(redirectUri)) return `elsewhere: ${location.href}`
  const inFragment = new URLSearchParams(location.hash.slice(1))
  const response = inFragment.size > 0 ? inFragment : location.searchParams
  return [
    response.has('code') ? 'code' : response.get('error') ?? 'nothing',
    ...inFragment.size > 0 ? ['in the fragment'] : [],
    ...response.get('state') === state ? [] : [response.has('state') ? 'wrong state' : 'no state'],
    ...response.get('iss') === issuer ? [] : ['wrong iss']
  ].join(', ')
}

/** The status of an answer, the error code, and the members of a JSON object. */
export function jsonOutcome ({ status, headers, body }: Answer): string {
  const challenge = String(headers['www-authenticate'] ?? '')
  const [scheme = ''] = challenge.split(' ')
  // The challenge of Basic has no such parameter (RFC 7617).
  const [, challenged] = scheme === 'Basic' ? [] : /error="([a-z_]+)"/.exec(challenge) ?? []
  const members = body === undefined ? 'nothing' : Object.keys(body).sort().join(' ')
  return [
    `${status} ${status === 200 ? members : body?.error ?? challenged ?? 'no error'}`,
    ...scheme === '' ? [] : [`challenge ${scheme}${challenged === undefined ? '' : ` ${challenged}`}`],
    ...String(headers['cache-control']).includes('no-store') ? [] : ['cacheable']
  ].join(', ')
}

/** The claims of an ID token, with the values that the request decides. */
export function idTokenOutcome ({ body }: Answer, issuer: string, client: TestClient): string {
  const claims = claimsOf(body.id_token)
  return [
    Object.keys(claims).sort().join(' '),
    ...claims.iss === issuer ? [] : ['wrong iss'],
    ...claims.aud === client.id ? [] : ['wrong aud']
  ].join(', ')
}

/** Describes where a sign-out ends, and whether a page asked before. */
export function signOutOutcome ({ answer, hasAsked }: SignOutEnd, issuer: string): string {
  const [, refreshed] = /http-equiv="refresh" content="0;\s*url=([^"]+)"/i.exec(answer.text) ?? []
  const location = refreshed === undefined
    ? locationOf(answer, issuer)
    : new URL(refreshed.replaceAll('&amp;', '&'), issuer)
  const isHere = location?.origin === new URL(issuer).origin
  const end = location === undefined ? `page ${classOf(answer.status)}` : isHere ? 'stays' : location.href
  return hasAsked ? `asks, ${end}` : end
}
