import { Type } from '@sinclair/typebox'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import * as clients from '../../src/clients/service-clients.ts'
import { insufficientScope } from '../../src/http/oauth-error.ts'
import { Problem } from '../../src/http/problem.ts'
import { scopesOf, type Roles } from '../../src/syntax/roles.ts'
import { introspectRefreshToken, isAccessTokenActive } from '../../src/sessions/introspection.ts'
import { strict, type Typed } from '../typed.ts'
import { clientSecurity, inOAuth, tokenParameters } from './parameters.ts'

export interface IntrospectionOptions {
  issuer: string
  roles: Roles
  /** Seconds. */
  refreshToken: number
  retryWindow: number | undefined
}

const introspection = strict({
  active: Type.Boolean({ description: 'Where it is false, there is nothing else.' }),
  iss: Type.Optional(Type.String()),
  sub: Type.Optional(Type.String({ description: 'The user, or the client whose own token it is.' })),
  aud: Type.Optional(Type.Union([Type.String(), Type.Array(Type.String())])),
  client_id: Type.Optional(Type.String()),
  scope: Type.Optional(Type.String()),
  token_type: Type.Optional(Type.String({ description: 'Of access tokens.' })),
  iat: Type.Optional(Type.Integer()),
  exp: Type.Optional(Type.Integer()),
  jti: Type.Optional(Type.String()),
  sid: Type.Optional(Type.String({ description: 'The user\'s session.' })),
  auth_time: Type.Optional(Type.Integer()),
  amr: Type.Optional(Type.Array(Type.String())),
  roles: Type.Optional(Type.Array(Type.String())),
  token_version: Type.Optional(Type.Integer({ description: 'How often all of the user\'s access tokens were revoked before this one; left out for never.' }))
}, { examples: [{ active: false }] })
type Introspection = typeof introspection['static']

const introspect: Typed<IntrospectionOptions> = async (app, options) => {
  app.post('/introspect', {
    schema: {
      operationId: 'introspect',
      tags: ['Services'],
      summary: 'Ask whether a token is active',
      description: 'Token introspection (RFC 7662), of access and refresh tokens. It asks the database: an ended session, a disabled user and a removed client are known at once. The client needs the scope `introspect`.',
      security: [...clientSecurity, { bearer: [] }],
      consumes: ['application/x-www-form-urlencoded'],
      body: Type.Object(tokenParameters, { examples: [{ token: 'eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCJ9.eyJpc3MiOiJodHRwczovL2F1dGguZXhhbXBsZS5jb20ifQ.c2lnbmF0dXJl' }] }),
      response: { 200: introspection }
    },
    config: { ...inOAuth, oauthErrors: ['invalid_client', 'invalid_token', 'insufficient_scope'] }
  }, async (request): Promise<Introspection> => {
    const caller = await app.authenticateCaller(request)
    if (caller.kind !== 'client' || !caller.scopes.includes('introspect')) throw insufficientScope('introspect')
    const { token } = request.body
    return (token.startsWith('lkr_') ? await ofRefreshToken(app, token, options) : await ofAccessToken(app, request, token)) ?? { active: false }
  })
}

async function ofRefreshToken (app: FastifyInstance, token: string, { issuer, roles, refreshToken, retryWindow }: IntrospectionOptions): Promise<Introspection | undefined> {
  const authentic = await app.keyring.readRefreshToken(token)
  const state = authentic && await introspectRefreshToken(app.db, authentic, { refreshToken, retryWindow })
  return state && { active: true, iss: issuer, sub: state.userId, client_id: 'latchkey', scope: scopesOf(roles, state.roles).join(' '), iat: seconds(authentic.issuedAt), exp: seconds(state.expiresAt), sid: authentic.sessionId }
}

async function ofAccessToken (app: FastifyInstance, request: FastifyRequest, token: string): Promise<Introspection | undefined> {
  try {
    const claims = await app.verifyAccessToken(request, token)
    const isHeld = claims.sid === undefined ? await clients.find(app.db, claims.client_id) !== undefined : await isAccessTokenActive(app.db, claims)
    return isHeld ? { active: true, ...claims, token_type: 'Bearer' } : undefined
  } catch (error) {
    if (error instanceof Problem && error.code === 'invalid_token') return undefined
    throw error
  }
}

const seconds = (time: Date) => Math.floor(time.getTime() / 1000)

export default introspect
