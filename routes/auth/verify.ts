import { Type } from '@sinclair/typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { forbidden } from '../../src/http/problems.ts'
import { meetsRequirement, type AccessRequirement } from '../../src/syntax/roles.ts'
import { strict, type Typed } from '../typed.ts'

const description = [
  'Verifies the bearer token of a request that a gateway forwards here (nginx `auth_request`, Traefik',
  '`forwardAuth`). The response headers name the user and the client of the token. The gateway must remove',
  'headers of these names from the requests of its clients.'
].join(' ')

/**
 * Encodes a role as an item of a list in a header. Characters that would end the item, or that a header
 * cannot contain, are percent-encoded.
 */
const encodeItem = (role: string) =>
  role.toWellFormed().replaceAll(/[^\x21-\x24\x26-\x2b\x2d-\x7e]/gu, encodeURIComponent)

const headerSchema = (description: string) => ({ type: 'string' as const, description })
const responseHeaders = {
  'x-auth-subject': headerSchema('The id of the user. For a client\'s own token, the id of the client.'),
  'x-auth-session': headerSchema('The id of the user\'s session. Absent for a client\'s own token.'),
  'x-auth-roles': headerSchema('The roles of the user, separated by commas. Within a role, commas, spaces,' +
    ' `%` and non-ASCII characters are percent-encoded.'),
  'x-auth-scope': headerSchema('The scopes, separated by spaces.'),
  'x-auth-client': headerSchema('The id of the client.')
}

/** The routes by which a gateway asks whether a request may pass, and whose it is. */
const verify: Typed = async (app) => {
  async function authorize (
    request: FastifyRequest, reply: FastifyReply, requirement: AccessRequirement = {}
  ) {
    const claims = await app.verifyBearer(request)
    if (!meetsRequirement(claims, requirement)) throw forbidden()
    const { sub, sid, roles = [], scope, client_id: client } = claims
    reply.headers({
      'x-auth-subject': sub,
      'x-auth-roles': roles.map(encodeItem).join(','),
      'x-auth-scope': scope,
      'x-auth-client': client,
      ...sid !== undefined && { 'x-auth-session': sid }
    })
    return reply.code(204).send()
  }

  app.get('/verify', {
    schema: {
      operationId: 'verify',
      tags: ['Verification'],
      summary: 'Verify a request for a gateway',
      description,
      security: [{ bearer: [] }],
      querystring: strict({
        roles: Type.Optional(Type.String({
          minLength: 1,
          maxLength: 1024,
          description: 'Roles, separated by commas. The user must have at least one of them.',
          examples: ['admin']
        })),
        scope: Type.Optional(Type.String({
          minLength: 1,
          maxLength: 1024,
          description: 'Scopes, separated by spaces. The token must have all of them.',
          examples: ['orders:read']
        }))
      }),
      response: {
        204: { type: 'null', description: 'The token is valid.', headers: responseHeaders }
      }
    },
    config: { limit: 'none', problems: ['invalid_token', 'forbidden', 'database_unavailable'] }
  }, async (request, reply) => {
    const { roles, scope } = request.query
    return await authorize(request, reply, {
      ...roles !== undefined && { roles: roles.split(',') },
      ...scope !== undefined && { scopes: scope.split(' ').filter(Boolean) }
    })
  })

  // Envoy's ext_authz uses the method of the original request, and appends its path to this one.
  app.route({
    method: ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'],
    url: '/verify/*',
    schema: { hide: true, querystring: Type.Unknown() },
    config: { limit: 'none' },
    handler: async (request, reply) => await authorize(request, reply)
  })
}

export default verify
