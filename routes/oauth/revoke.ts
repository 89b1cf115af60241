import { Type } from '@sinclair/typebox'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { Problem } from '../../src/http/problem.ts'
import { revokeToken } from '../../src/tokens/revocations.ts'
import { end, endOwn } from '../../src/sessions/ending.ts'
import { originOf, type Typed } from '../typed.ts'
import { clientSecurity, inOAuth, tokenParameters } from './parameters.ts'

/** What a token stands for: a user's session, or nothing but itself. */
type Revocable = { sessionId: string } | { jti: string, clientId: string, expiresAt: Date }

const revoke: Typed = async (app) => {
  app.post('/revoke', {
    schema: {
      operationId: 'revoke',
      tags: ['Services'],
      summary: 'Revoke a token',
      description: 'Token revocation (RFC 7009). A token of a user, of either kind, ends its session: by a bearer token of the same user, or by a client with the scope `sessions:end`. A client\'s own access token is revoked by that client. Of a token that is not valid, or not the caller\'s, nothing is said and nothing happens.',
      security: [...clientSecurity, { bearer: [] }],
      consumes: ['application/x-www-form-urlencoded'],
      body: Type.Object(tokenParameters, { examples: [{ token: 'lkr_AQIDBAUG…' }] }),
      response: { 200: { type: 'null', description: 'The token is not active, or not the caller\'s to revoke.' } }
    },
    config: { ...inOAuth, oauthErrors: ['invalid_client', 'invalid_token'] }
  }, async (request, reply) => {
    const caller = await app.authenticateCaller(request)
    const found = await revocable(app, request, request.body.token)
    const origin = { ...originOf(request), ...caller.kind === 'client' ? { clientId: caller.clientId } : { actorId: caller.userId } }
    if (found && 'sessionId' in found) {
      if (caller.kind === 'user') app.revocations.add(await endOwn(app.db, { userId: caller.userId, sessionId: found.sessionId }, 'revoked', origin) ?? [])
      else if (caller.scopes.includes('sessions:end')) app.revocations.add(await end(app.db, [found.sessionId], 'revoked', origin))
    } else if (found && caller.kind === 'client' && caller.clientId === found.clientId) {
      app.revocations.add(await revokeToken(app.db, found, origin))
    }
    return reply.code(200).send()
  })
}

async function revocable (app: FastifyInstance, request: FastifyRequest, token: string): Promise<Revocable | undefined> {
  if (token.startsWith('lkr_')) {
    const authentic = await app.keyring.readRefreshToken(token)
    return authentic && { sessionId: authentic.sessionId }
  }
  try {
    const { sid, jti, client_id: clientId, exp } = await app.verifyAccessToken(request, token)
    return sid !== undefined ? { sessionId: sid } : { jti, clientId, expiresAt: new Date(exp * 1_000) }
  } catch (error) {
    if (error instanceof Problem && error.code === 'invalid_token') return undefined
    throw error
  }
}

export default revoke
