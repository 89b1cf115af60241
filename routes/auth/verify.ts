import { Type } from '@sinclair/typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { forbidden } from '../../src/http/problem.ts'
import { meets, type Demand } from '../../src/syntax/roles.ts'
import { strict, type Typed } from '../typed.ts'

// Percent-encodes a role for a list in a header: a comma, a space, and what a header must not contain.
const encodeListItem = (role: string) =>
  role.toWellFormed().replaceAll(/[^\x21-\x24\x26-\x2b\x2d-\x7e]/gu, encodeURIComponent)

const responseHeader = (description: string) => ({ type: 'string' as const, description })
const responseHeaders = {
  'x-auth-subject': responseHeader('The id of the user. For a client\'s own token, the id of the client.'),
  'x-auth-session': responseHeader('The id of the user\'s session. Absent for a client\'s own token.'),
  'x-auth-roles': responseHeader('The user\'s roles, separated by commas. Commas, spaces and characters' +
    ' that are not ASCII are percent-encoded.'),
  'x-auth-scope': responseHeader('The scopes, separated by spaces.'),
  'x-auth-client': responseHeader('The id of the client.')
}

const verifyQuery = strict({
  roles: Type.Optional(Type.String({
    minLength: 1,
    maxLength: 1024,
    description: 'Roles, separated by commas. The token must have one of them.',
    examples: ['admin']
  })),
  scope: Type.Optional(Type.String({
    minLength: 1,
    maxLength: 1024,
    description: 'Scopes, separated by spaces. The token must have all of them.',
    examples: ['orders:read']
  }))
})

/** Verifies the bearer token of a request for a gateway. */
const verify: Typed = async (app) => {
  async function respond (request: FastifyRequest, reply: FastifyReply, demand: Demand = {}) {
    const claims = await app.verifyBearer(request)
    if (!meets(claims, demand)) throw forbidden()
    const { sub, sid, roles = [], scope, client_id: clientId } = claims
    reply.headers({
      'x-auth-subject': sub,
      'x-auth-roles': roles.map(encodeListItem).join(','),
      'x-auth-scope': scope,
      'x-auth-client': clientId,
      ...sid !== undefined && { 'x-auth-session': sid }
    })
    return reply.code(204).send()
  }

  app.get('/verify', {
    schema: {
      operationId: 'verify',
      tags: ['Verification'],
      summary: 'Verify a request for a gateway',
      description: 'Verifies the bearer token of a request that a gateway forwards here (nginx' +
        ' `auth_request`, Traefik `forwardAuth`), and names its user or client. The gateway must remove' +
        ' headers of these names from the requests of its clients.',
      security: [{ bearer: [] }],
      querystring: verifyQuery,
      response: { 204: { type: 'null', description: 'The token is valid.', headers: responseHeaders } }
    },
    config: { limit: 'none', problems: ['invalid_token', 'forbidden', 'database_unavailable'] }
  }, async (request, reply) => {
    const { roles, scope } = request.query
    return await respond(request, reply, {
      ...roles !== undefined && { roles: roles.split(',') },
      ...scope !== undefined && { scopes: scope.split(' ').filter(Boolean) }
    })
  })

  // Envoy's ext_authz asks with the method of the original request, and appends its path to this one.
  app.route({
    method: ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'],
    url: '/verify/*',
    schema: { hide: true, querystring: Type.Unknown() },
    config: { limit: 'none' },
    handler: async (request, reply) => await respond(request, reply)
  })
}

export default verify
