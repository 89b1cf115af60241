import { METHODS } from 'node:http'
import { Type, type Static } from '@sinclair/typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { forbidden } from '../../src/http/problems.ts'
import { meetsRequirement, type AccessRequirement } from '../../src/syntax/roles.ts'
import { strict, type Typed } from '../typed.ts'

const description = [
  'Verifies the bearer token of a request that a gateway forwards here (nginx `auth_request`, Traefik',
  '`forwardAuth`). The response headers name the user and the client of the token. Every 204 response has',
  'all of them (`x-auth-email` only with `TOKEN_CLAIMS`), so that they replace what a client sent. The',
  'gateway must remove other spellings of their names. Any method is accepted, and the body is not read.'
].join(' ')

/**
 * Encodes a role as an item of a list in a header, or an email address. Characters that would end the item,
 * or that a header cannot contain, are percent-encoded.
 */
const encodeItem = (text: string) =>
  text.toWellFormed().replaceAll(/[^\x21-\x24\x26-\x2b\x2d-\x7e]/gu, encodeURIComponent)

const headerSchema = (description: string) => ({ type: 'string' as const, description })
const responseHeaders = {
  'x-auth-subject': headerSchema('The id of the user. For a client\'s own token, the id of the client.'),
  'x-auth-session': headerSchema('The id of the user\'s session. Empty for a client\'s own token.'),
  'x-auth-roles': headerSchema('The roles of the user, separated by commas. Within a role, commas, spaces,' +
    ' `%` and non-ASCII characters are percent-encoded.'),
  'x-auth-scope': headerSchema('The scopes, separated by spaces.'),
  'x-auth-client': headerSchema('The `client_id` of the token: `latchkey` for a user who signed in to' +
    ' Latchkey itself, otherwise the id of the client.'),
  'x-auth-email': headerSchema('The email address of the user, if access tokens contain it' +
    ' (`TOKEN_CLAIMS`); empty for a client\'s own token. `%` and non-ASCII characters are percent-encoded.')
}

export interface VerifyOptions {
  /** The claim that contains the email address of the user; undefined if access tokens contain none. */
  emailClaim: string | undefined
}

// The tunnels of CONNECT never reach a route. Fastify makes a HEAD route of a GET route by itself.
const otherMethods = METHODS.filter(method => !['GET', 'HEAD', 'CONNECT'].includes(method))

/** The routes by which a gateway asks whether a request may pass, and whose it is. */
const verify: Typed<VerifyOptions> = async (app, { emailClaim }) => {
  async function authorize (
    request: FastifyRequest, reply: FastifyReply, requirement: AccessRequirement = {}
  ) {
    const claims = await app.verifyBearer(request)
    if (!meetsRequirement(claims, requirement)) throw forbidden()
    const { sub, sid, roles = [], scope, client_id: client, additional } = claims
    reply.headers({
      'x-auth-subject': sub,
      'x-auth-roles': roles.map(encodeItem).join(','),
      'x-auth-scope': scope,
      'x-auth-client': client,
      'x-auth-session': sid ?? '',
      ...emailClaim !== undefined && { 'x-auth-email': encodeItem(String(additional[emailClaim] ?? '')) }
    })
    return reply.code(204).send()
  }

  for (const method of otherMethods) {
    if (!app.supportedMethods.includes(method)) app.addHttpMethod(method)
  }
  // The token alone decides. The body stays unread, so its type does not matter.
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', (_request, _body, done) => { done(null) })
  app.addHook('onRequest', async ({ raw: { headers } }) => {
    headers['content-type'] = 'application/octet-stream'
  })
  // A preflight needs a token, too. A 204 without the headers would let headers of the client pass.
  const config = { limit: 'none', cors: false } as const
  const requirements = {
    roles: Type.Optional(Type.String({
      minLength: 1,
      maxLength: 1024,
      description: 'Roles, separated by commas. The user must have at least one of them.',
      examples: ['admin']
    })),
    scope: Type.Optional(Type.String({
      minLength: 1,
      maxLength: 1024,
      pattern: '[^ ]',
      description: 'Scopes, separated by spaces. The token must have all of them.',
      examples: ['orders:read']
    }))
  }
  const querystring = strict(requirements)
  const requirementOf = ({ roles, scope }: Static<typeof querystring>): AccessRequirement => ({
    ...roles !== undefined && { roles: roles.split(',') },
    ...scope !== undefined && { scopes: scope.split(' ').filter(Boolean) }
  })

  app.get('/verify', {
    schema: {
      operationId: 'verify',
      tags: ['Verification'],
      summary: 'Verify a request for a gateway',
      description,
      security: [{ bearer: [] }],
      querystring,
      response: {
        204: { type: 'null', description: 'The token is valid.', headers: responseHeaders }
      }
    },
    config: { ...config, problems: ['invalid_token', 'forbidden', 'database_unavailable'] }
  }, async (request, reply) => await authorize(request, reply, requirementOf(request.query)))

  app.route({
    method: otherMethods,
    url: '/verify',
    schema: { hide: true, querystring },
    config,
    handler: async (request, reply) => await authorize(request, reply, requirementOf(request.query))
  })

  // A gateway may put a slash before its requirements. Envoy asks here about `/`; that query is the client's.
  app.route({
    method: ['GET', ...otherMethods],
    url: '/verify/',
    schema: { hide: true, querystring: Type.Object(requirements) },
    config,
    handler: async (request, reply) => await authorize(request, reply, requirementOf(request.query))
  })

  // Envoy's ext_authz uses the method of the original request, and appends its path to this one.
  app.route({
    method: ['GET', ...otherMethods],
    url: '/verify/*',
    schema: { hide: true, querystring: Type.Unknown() },
    config,
    handler: async (request, reply) => await authorize(request, reply)
  })
}

export default verify
