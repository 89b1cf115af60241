import { Type } from '@sinclair/typebox'
import {
  invalidScope, invalidTarget, unauthorizedClient, unsupportedGrantType
} from '../../src/http/oauth-error.ts'
import { isResourceIndicator } from '../../src/syntax/resource-indicator.ts'
import { strict, type Typed } from '../typed.ts'
import { clientCredentials, clientSecurity, exampleAccessToken, oauthConfig } from './parameters.ts'

export interface TokenOptions {
  /** The audience of a token whose request names no resource. */
  audience: string
}

const resource = Type.String({ maxLength: 2048 })
const oneOrMore = (description: string) =>
  Type.Optional(Type.Union([resource, Type.Array(resource, { maxItems: 8 })], { description }))

const tokenRequest = Type.Object({
  grant_type: Type.String({ maxLength: 256, description: 'Must be `client_credentials`.' }),
  scope: Type.Optional(Type.String({
    maxLength: 8192,
    description: 'The requested scopes, separated by spaces. The default is all scopes of the client.'
  })),
  resource: oneOrMore('The service that the token is for. It becomes the claim `aud`.'),
  audience: oneOrMore('The same as `resource`, for clients that use the parameter of Auth0.'),
  ...clientCredentials
}, {
  examples: [
    { grant_type: 'client_credentials', scope: 'orders:read', resource: 'https://orders.example.com' }
  ]
})

const tokenResponse = strict({
  access_token: Type.String({ description: 'A JWT (RFC 9068). Its `sub` is the client.' }),
  token_type: Type.Literal('Bearer'),
  expires_in: Type.Integer({ description: 'Seconds until the access token expires.' }),
  scope: Type.String()
}, {
  examples: [
    { access_token: exampleAccessToken, token_type: 'Bearer', expires_in: 900, scope: 'orders:read' }
  ]
})

const token: Typed<TokenOptions> = async (app, { audience: defaultAudience }) => {
  app.post('/token', {
    schema: {
      operationId: 'token',
      tags: ['Services'],
      summary: 'Get an access token for a client',
      description: 'Client credentials grant (RFC 6749 section 4.4) with resource indicators (RFC 8707).',
      security: clientSecurity,
      consumes: ['application/x-www-form-urlencoded'],
      body: tokenRequest,
      response: { 200: tokenResponse }
    },
    config: {
      ...oauthConfig,
      isForClientOrigins: true,
      oauthErrors: [
        'invalid_client', 'unauthorized_client', 'unsupported_grant_type', 'invalid_scope', 'invalid_target'
      ]
    }
  }, async (request, reply) => {
    const { grant_type: grantType, scope, resource = [], audience: sameAsResource = [] } = request.body
    const client = await app.authenticateClient(request)
    if (grantType !== 'client_credentials') throw unsupportedGrantType()
    if (!client.grant_types.includes(grantType)) throw unauthorizedClient()
    const scopes = scope === undefined ? client.scopes : [...new Set(scope.split(' ').filter(Boolean))]
    if (!scopes.every(each => client.scopes.includes(each))) {
      throw invalidScope('The client is not granted every scope that it requests.')
    }
    const resources = [resource, sameAsResource].flat()
    if (!resources.every(isResourceIndicator)) throw invalidTarget()
    const [first = defaultAudience, ...others] = [...new Set(resources)]
    const audience = others.length > 0 ? [first, ...others] : first
    const grantedScope = scopes.join(' ')
    const { accessToken, expiresIn } = app.signClientToken({
      clientId: client.client_id, scope: grantedScope, audience
    })
    reply.header('pragma', 'no-cache')
    return {
      access_token: accessToken,
      token_type: 'Bearer' as const,
      expires_in: expiresIn,
      scope: grantedScope
    }
  })
}

export default token
