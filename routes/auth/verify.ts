import { Type } from '@sinclair/typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { forbidden } from '../../src/http/problems.ts'
import { meetsRequirement, type AccessRequirement } from '../../src/syntax/roles.ts'
import { strict, type Typed } from '../typed.ts'

/**
 * A role as an item of a list in a header: what would end the item, or is no part of a header, is
 * percent-encoded.
 */
const listed = (role: string) => role.toWellFormed().replaceAll(/[^\x21-\x24\x26-\x2b\x2d-\x7e]/gu, encodeURIComponent)

/** For gateways: whether a request may pass, and whose it is. */
const verify: Typed = async (app) => {
  const pass = async (request: FastifyRequest, reply: FastifyReply, demand: AccessRequirement = {}) => {
    const claims = await app.verifyBearer(request)
    if (!meetsRequirement(claims, demand)) throw forbidden()
    const { sub, sid, roles = [], scope, client_id: client } = claims
    reply.headers({ 'x-auth-subject': sub, 'x-auth-roles': roles.map(listed).join(','), 'x-auth-scope': scope, 'x-auth-client': client, ...sid !== undefined && { 'x-auth-session': sid } })
    return reply.code(204).send()
  }
  const header = (description: string) => ({ type: 'string' as const, description })

  app.get('/verify', {
    schema: {
      operationId: 'verify',
      tags: ['Verification'],
      summary: 'Verify a request for a gateway',
      description: 'Whether the bearer token of the request that a gateway (nginx `auth_request`, Traefik `forwardAuth`) forwards here is good, and whose it is. The gateway must not pass headers of these names on from its clients.',
      security: [{ bearer: [] }],
      querystring: strict({
        roles: Type.Optional(Type.String({ minLength: 1, maxLength: 1024, description: 'Roles, comma separated, one of which is demanded.', examples: ['admin'] })),
        scope: Type.Optional(Type.String({ minLength: 1, maxLength: 1024, description: 'Scopes, separated by spaces, all of which are demanded.', examples: ['orders:read'] }))
      }),
      response: {
        204: {
          type: 'null',
          description: 'The token is good.',
          headers: {
            'x-auth-subject': header('The id of the user, or of the client whose own token it is.'),
            'x-auth-session': header('The id of the user\'s session; absent for a client\'s own token.'),
            'x-auth-roles': header('The user\'s roles, comma separated; of other characters than those of ASCII they are percent-encoded, as are commas and blanks.'),
            'x-auth-scope': header('The scopes, separated by spaces.'),
            'x-auth-client': header('The id of the client.')
          }
        }
      }
    },
    config: { limit: 'none', problems: ['invalid_token', 'forbidden', 'database_unavailable'] }
  }, async (request, reply) => {
    const { roles, scope } = request.query
    return await pass(request, reply, { ...roles !== undefined && { roles: roles.split(',') }, ...scope !== undefined && { scopes: scope.split(' ').filter(Boolean) } })
  })

  // Envoy's ext_authz asks with the method of the original request, and with its path behind this one.
  app.route({
    method: ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'],
    url: '/verify/*',
    schema: { hide: true, querystring: Type.Unknown() },
    config: { limit: 'none' },
    handler: async (request, reply) => await pass(request, reply)
  })
}

export default verify
