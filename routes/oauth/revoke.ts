import { Type } from '@sinclair/typebox'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { Problem } from '../../src/http/problem.ts'
import { end, endOfClient, endOwn } from '../../src/sessions/ending.ts'
import { revokeToken } from '../../src/tokens/revocations.ts'
import { originOf, type Typed } from '../typed.ts'
import { clientSecurity, oauthConfig, tokenParameters } from './parameters.ts'

/** What a revocation ends: the session of a user's token, or a client's own access token. */
type RevocationTarget = { sessionId: string } | { jti: string, clientId: string, expiresAt: Date }

const revoke: Typed = async (app) => {
  app.post('/revoke', {
    schema: {
      operationId: 'revoke',
      tags: ['Services'],
      summary: 'Revoke a token',
      description: 'Token revocation (RFC 7009). Revoking an access token or refresh token of a user ends' +
        ' its session. A client can revoke the tokens that were issued to it; a public client sends its' +
        ' `client_id` alone. To revoke other tokens, the caller needs a bearer token of the same user, or' +
        ' must be a client with the scope `sessions:end`. If the token is invalid, or the caller may not' +
        ' revoke it, nothing happens and the response is the same.',
      security: [...clientSecurity, { bearer: [] }, {}],
      consumes: ['application/x-www-form-urlencoded'],
      body: Type.Object(tokenParameters, { examples: [{ token: 'lkr_AQIDBAUG…' }] }),
      response: {
        200: { type: 'null', description: 'The token is no longer active, or the caller may not revoke it.' }
      }
    },
    config: { ...oauthConfig, isForClientOrigins: true, oauthErrors: ['invalid_client', 'invalid_token'] }
  }, async (request, reply) => {
    const caller = await app.authenticateCaller(request)
    const target = await findTarget(app, request, request.body.token)
    const actor = caller.kind === 'client' ? { clientId: caller.clientId } : { actorId: caller.userId }
    const origin = { ...originOf(request), ...actor }
    if (target && 'sessionId' in target) {
      const { sessionId } = target
      if (caller.kind === 'user') {
        await endOwn(app.db, { userId: caller.userId, sessionId }, 'revoked', origin)
      } else if (caller.scopes.includes('sessions:end')) {
        await end(app.db, [sessionId], 'revoked', origin)
      } else {
        await endOfClient(app.db, { sessionId, clientId: caller.clientId }, 'revoked', origin)
      }
    } else if (target && caller.kind === 'client' && caller.clientId === target.clientId) {
      await revokeToken(app.db, target, origin)
    }
    // RFC 7009 section 2.2: an invalid token is not an error.
    return reply.code(200).send()
  })
}

async function findTarget (
  app: FastifyInstance, request: FastifyRequest, token: string
): Promise<RevocationTarget | undefined> {
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
