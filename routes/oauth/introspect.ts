import { Type } from '@sinclair/typebox'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import * as clients from '../../src/clients/clients.ts'
import { effectiveScopes } from '../../src/delegation/scopes.ts'
import { insufficientScope } from '../../src/http/oauth-error.ts'
import { Problem } from '../../src/http/problem.ts'
import { introspectRefreshToken, isAccessTokenActive } from '../../src/sessions/introspection.ts'
import { scopesOf, type Roles } from '../../src/syntax/roles.ts'
import { strict, type Typed } from '../typed.ts'
import { clientSecurity, exampleAccessToken, oauthConfig, tokenParameters } from './parameters.ts'

const requiredScope = 'introspect'

export interface IntrospectionOptions {
  issuer: string
  roles: Roles
  /** The lifetime of a refresh token. */
  refreshTokenSeconds: number
  retryWindowSeconds: number | undefined
}

const introspectionResponse = strict({
  active: Type.Boolean({ description: 'Whether the token is active. If not, no other member is present.' }),
  iss: Type.Optional(Type.String()),
  sub: Type.Optional(Type.String({ description: 'The user; in a client\'s own token, the client.' })),
  aud: Type.Optional(Type.Union([Type.String(), Type.Array(Type.String())])),
  client_id: Type.Optional(Type.String()),
  scope: Type.Optional(Type.String()),
  token_type: Type.Optional(Type.String({ description: 'Present for access tokens.' })),
  iat: Type.Optional(Type.Integer()),
  exp: Type.Optional(Type.Integer()),
  jti: Type.Optional(Type.String()),
  sid: Type.Optional(Type.String({ description: 'The user\'s session.' })),
  auth_time: Type.Optional(Type.Integer()),
  amr: Type.Optional(Type.Array(Type.String())),
  roles: Type.Optional(Type.Array(Type.String())),
  token_version: Type.Optional(Type.Integer({
    description: 'How many times all access tokens of the user were revoked before this one; absent if never.'
  }))
}, { description: 'Whether the token is active, and its claims if it is.', examples: [{ active: false }] })
type Introspection = typeof introspectionResponse['static']

const introspect: Typed<IntrospectionOptions> = async (app, options) => {
  app.post('/introspect', {
    schema: {
      operationId: 'introspect',
      tags: ['Services'],
      summary: 'Introspect a token',
      description: 'Token introspection (RFC 7662) of access tokens and refresh tokens. The database is' +
        ' read, so the end of a session, a disabled user or a deleted client takes effect at once. The' +
        ' client needs the scope `introspect`.',
      security: [...clientSecurity, { bearer: [] }],
      consumes: ['application/x-www-form-urlencoded'],
      body: Type.Object(tokenParameters, { examples: [{ token: exampleAccessToken }] }),
      response: { 200: introspectionResponse }
    },
    config: { ...oauthConfig, oauthErrors: ['invalid_client', 'invalid_token', 'insufficient_scope'] }
  }, async (request): Promise<Introspection> => {
    const caller = await app.authenticateCaller(request)
    const isAllowed = caller.kind === 'client' && caller.scopes.includes(requiredScope)
    if (!isAllowed) throw insufficientScope(requiredScope)
    const { token } = request.body
    // RFC 7662 section 2.2: the response does not say why a token is not active.
    const introspection = token.startsWith('lkr_')
      ? await describeRefreshToken(app, token, options)
      : await describeAccessToken(app, request, token)
    return introspection ?? { active: false }
  })
}

async function describeRefreshToken (
  app: FastifyInstance, token: string, options: IntrospectionOptions
): Promise<Introspection | undefined> {
  const { issuer, roles } = options
  const authentic = await app.keyring.readRefreshToken(token)
  const state = authentic && await introspectRefreshToken(app.db, authentic, options)
  return state && {
    active: true,
    iss: issuer,
    sub: state.userId,
    client_id: state.clientId ?? 'latchkey',
    scope: (state.scope
      ? effectiveScopes(roles, state.roles, state.scope)
      : scopesOf(roles, state.roles)
    ).join(' '),
    iat: toSeconds(authentic.issuedAt),
    exp: toSeconds(state.expiresAt),
    sid: authentic.sessionId
  }
}

async function describeAccessToken (
  app: FastifyInstance, request: FastifyRequest, token: string
): Promise<Introspection | undefined> {
  try {
    const claims = await app.verifyAccessToken(request, token)
    const isActive = claims.sid === undefined
      ? await clients.find(app.db, claims.client_id) !== undefined
      : await isAccessTokenActive(app.db, claims)
    return isActive ? { active: true, ...claims, token_type: 'Bearer' } : undefined
  } catch (error) {
    if (error instanceof Problem && error.code === 'invalid_token') return undefined
    throw error
  }
}

const toSeconds = (time: Date) => Math.floor(time.getTime() / 1_000)

export default introspect
