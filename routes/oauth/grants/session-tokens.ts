import type { FastifyInstance } from 'fastify'
import type { Client } from '../../../src/clients/records.ts'
import { toUserInfo } from '../../../src/delegation/user-info.ts'
import { invalidScope, invalidTarget } from '../../../src/http/oauth-error.ts'
import { issue } from '../../../src/sessions/refresh-token.ts'
import type { LiveSession } from '../../../src/sessions/session.ts'
import { words, type GrantOptions, type IssuedTokens, type TokenParameters } from './grant.ts'

/** What the tokens of a client session are issued with. */
export interface SessionTokenRequest {
  client: Client
  session: LiveSession
  /** The nonce of the authorization request. A refreshed ID token has none. */
  nonce?: string | undefined
  parameters: Pick<TokenParameters, 'scope' | 'resource'>
}

/**
 * Issues the tokens of a client session. A request may narrow the scope and the audience of the access token,
 * and never widen them (RFC 6749 section 6, RFC 8707 section 2.2). What the client may no longer have is left
 * out. Throws `invalid_scope` or `invalid_target`.
 */
export function issueSessionTokens (
  app: FastifyInstance, options: GrantOptions, tokenRequest: SessionTokenRequest
): IssuedTokens {
  const { lifetimes } = options
  const { client, session, nonce, parameters } = tokenRequest
  const { grant, user } = session
  const granted = (grant?.scope ?? []).filter(scope => client.scopes.includes(scope))
  const requested = parameters.scope === undefined ? granted : words(parameters.scope)
  if (!requested.every(each => grant?.scope.includes(each))) {
    throw invalidScope('The user has not authorized every scope that is requested.')
  }
  const scope = requested.filter(each => client.scopes.includes(each))
  const resources = requestedAudience(parameters)
  const audience = resources.length > 0 ? resources : grant?.audience ?? []
  const allowed = allowedAudience(client, options)
  const isAllowed = (resource: string) =>
    grant?.audience.includes(resource) === true && allowed.includes(resource)
  if (!audience.every(isAllowed)) throw invalidTarget('The user has not authorized this resource.')
  const token = app.signDelegatedToken(session, client, { scope, audience })
  const refreshToken = client.grant_types.includes('refresh_token')
    ? issue(app.keyring.getMacKey(), session, lifetimes.refreshTokenSeconds).token
    : undefined
  const idToken = scope.includes('openid')
    ? app.signIdToken({
      ...client.userinfo_in_id_token && toUserInfo(user, words(token.scope)),
      sub: user.id,
      aud: client.client_id,
      iat: token.issuedAt,
      exp: token.issuedAt + token.expiresIn,
      auth_time: Math.floor(session.authenticatedAt.getTime() / 1_000),
      amr: session.methods,
      sid: session.id,
      ...nonce !== undefined && { nonce }
    }, client.id_token_signed_response_alg, token.accessToken)
    : undefined
  return {
    access_token: token.accessToken,
    token_type: 'Bearer',
    expires_in: token.expiresIn,
    scope: token.scope,
    ...refreshToken !== undefined && { refresh_token: refreshToken },
    ...idToken !== undefined && { id_token: idToken }
  }
}

/**
 * Throws `database_unavailable` if a key is missing that the tokens of a client session need, so that nothing
 * is used up for a response that cannot be given.
 */
export function assertKeys (app: FastifyInstance, client: Client): void {
  app.keyring.getSigningKey()
  app.keyring.getMacKey()
  app.assertIdTokenKey(client.id_token_signed_response_alg)
}

/** The resources that a client may have for a user now. The configuration may have changed meanwhile. */
export const allowedAudience = (
  { audiences, first_party: isFirstParty }: Client, { issuer, audience }: GrantOptions
): string[] => audiences.filter(resource => isFirstParty || ![issuer, audience].includes(resource))

/** The resources of a request (RFC 8707), each once. Empty if it names none. */
export const requestedAudience = ({ resource = [] }: Pick<TokenParameters, 'resource'>): string[] =>
  [...new Set([resource].flat())]
