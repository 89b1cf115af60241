import { Type } from '@sinclair/typebox'
import { invalidScope, invalidTarget, unsupportedGrantType } from '../../src/http/oauth-error.ts'
import { strict, type Typed } from '../typed.ts'
import { clientCredentials, clientSecurity, inOAuth } from './parameters.ts'

export interface TokenOptions {
  /** Of tokens for which no resource is named. */
  audience: string
}

const token: Typed<TokenOptions> = async (app, { audience }) => {
  app.post('/token', {
    schema: {
      operationId: 'token',
      tags: ['Services'],
      summary: 'Get an access token for a client of its own',
      description: 'The client credentials grant (RFC 6749 section 4.4), with resource indicators (RFC 8707).',
      security: clientSecurity,
      consumes: ['application/x-www-form-urlencoded'],
      body: Type.Object({
        grant_type: Type.String({ maxLength: 256, description: 'Only `client_credentials`.' }),
        scope: Type.Optional(Type.String({ maxLength: 8192, description: 'Scopes, separated by spaces; all of the client\'s unless it is given.' })),
        resource: Type.Optional(Type.Union([Type.String({ maxLength: 2048 }), Type.Array(Type.String({ maxLength: 2048 }), { maxItems: 8 })], { description: 'Which service the token is for: becomes `aud`.' })),
        ...clientCredentials
      }, { examples: [{ grant_type: 'client_credentials', scope: 'orders:read', resource: 'https://orders.example.com' }] }),
      response: {
        200: strict({
          access_token: Type.String({ description: 'A JWT by RFC 9068; its `sub` is the client.' }),
          token_type: Type.Literal('Bearer'),
          expires_in: Type.Integer({ description: 'Seconds the access token lives.' }),
          scope: Type.String()
        }, { examples: [{ access_token: 'eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCJ9.eyJpc3MiOiJodHRwczovL2F1dGguZXhhbXBsZS5jb20ifQ.c2lnbmF0dXJl', token_type: 'Bearer', expires_in: 900, scope: 'orders:read' }] })
      }
    },
    config: { ...inOAuth, oauthErrors: ['invalid_client', 'unsupported_grant_type', 'invalid_scope', 'invalid_target'] }
  }, async (request, reply) => {
    const { grant_type: grantType, scope, resource } = request.body
    const client = await app.authenticateClient(request)
    if (grantType !== 'client_credentials') throw unsupportedGrantType()
    const scopes = scope === undefined ? client.scopes : [...new Set(scope.split(' ').filter(Boolean))]
    if (!scopes.every(each => client.scopes.includes(each))) throw invalidScope('The client is not granted every scope that it asks for.')
    const targets = resource === undefined ? [] : [resource].flat()
    if (!targets.every(isTarget)) throw invalidTarget()
    const [only = audience, ...others] = [...new Set(targets)]
    const { accessToken, expiresIn } = app.signClientToken({ clientId: client.client_id, scope: scopes.join(' '), audience: others.length > 0 ? [only, ...others] : only })
    reply.header('pragma', 'no-cache')
    return { access_token: accessToken, token_type: 'Bearer' as const, expires_in: expiresIn, scope: scopes.join(' ') }
  })
}

/** RFC 8707 section 2: an absolute URI without a fragment. */
const isTarget = (text: string) => /^[a-z][a-z0-9+.-]*:[\x21-\x7e]+$/i.test(text) && URL.canParse(text) && !text.includes('#')

export default token
