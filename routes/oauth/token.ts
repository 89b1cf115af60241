import { Type } from '@sinclair/typebox'
import type { GrantType } from '../../src/clients/metadata.ts'
import { unauthorizedClient, unsupportedGrantType } from '../../src/http/oauth-error.ts'
import { strict, type Typed } from '../typed.ts'
import { authorizationCode } from './grants/authorization-code.ts'
import { clientCredentials as clientCredentialsGrant } from './grants/client-credentials.ts'
import type { Grant, GrantOptions } from './grants/grant.ts'
import { refreshToken } from './grants/refresh-token.ts'
import {
  clientCredentials, clientSecurity, dropEmptyParameters, exampleAccessToken, oauthConfig
} from './parameters.ts'

const grants: Record<GrantType, Grant> = {
  authorization_code: authorizationCode,
  client_credentials: clientCredentialsGrant,
  refresh_token: refreshToken
}
const isGrantType = (text: string): text is GrantType => Object.hasOwn(grants, text)

const resource = Type.String({ maxLength: 2048 })
const oneOrMore = (description: string) =>
  Type.Optional(Type.Union([resource, Type.Array(resource, { maxItems: 8 })], { description }))
const optional = (maxLength: number, description: string) =>
  Type.Optional(Type.String({ maxLength, description }))

const tokenRequest = Type.Object({
  grant_type: Type.String({
    maxLength: 256, description: '`authorization_code`, `refresh_token` or `client_credentials`.'
  }),
  code: optional(2048, 'With `authorization_code`: the code of the authorization response.'),
  redirect_uri: optional(2048, 'With `authorization_code`: the redirect URI of the authorization request.'),
  code_verifier: optional(
    1024, 'With `authorization_code`: the verifier of its `code_challenge` (RFC 7636).'),
  refresh_token: optional(8192, 'With `refresh_token`: the refresh token. The response has its successor.'),
  scope: optional(8192, 'The requested scopes, separated by spaces. With `client_credentials`, the default' +
    ' is all scopes of the client. With `refresh_token`, they narrow what the user authorized.'),
  resource: oneOrMore('The service that the token is for (RFC 8707). It becomes the claim `aud`.'),
  audience: oneOrMore('With `client_credentials`: the same as `resource`, for clients that use the' +
    ' parameter of Auth0.'),
  ...clientCredentials
}, {
  examples: [
    { grant_type: 'client_credentials', scope: 'orders:read', resource: 'https://orders.example.com' }
  ]
})

const tokenResponse = strict({
  access_token: Type.String({
    description: 'A JWT (RFC 9068). Its `sub` is the user; with `client_credentials`, the client.'
  }),
  token_type: Type.Literal('Bearer'),
  expires_in: Type.Integer({ description: 'Seconds until the access token expires.' }),
  scope: Type.String({ description: 'The granted scopes, separated by spaces.' }),
  refresh_token: Type.Optional(Type.String({
    description: 'The token for the next refresh, for clients with the grant `refresh_token`.'
  })),
  id_token: Type.Optional(Type.String({
    description: 'The ID token, which says who signed in (OpenID Connect Core section 2). Present with the' +
      ' scope `openid`. With `userinfo_in_id_token` of the client, it has the claims of userinfo.'
  }))
}, {
  description: 'The access token, and the other tokens that the grant gives.',
  examples: [
    { access_token: exampleAccessToken, token_type: 'Bearer', expires_in: 900, scope: 'orders:read' }
  ]
})

const token: Typed<GrantOptions> = async (app, options) => {
  app.post('/token', {
    schema: {
      operationId: 'token',
      tags: ['Services'],
      summary: 'Get tokens',
      description: 'The token endpoint (RFC 6749 section 3.2), with the grants `authorization_code`,' +
        ' `refresh_token` and `client_credentials`. A public client sends its `client_id` alone.',
      security: [...clientSecurity, {}],
      consumes: ['application/x-www-form-urlencoded'],
      body: tokenRequest,
      response: { 200: tokenResponse }
    },
    preValidation: dropEmptyParameters,
    config: {
      ...oauthConfig,
      isForClientOrigins: true,
      oauthErrors: [
        'invalid_client', 'unauthorized_client', 'unsupported_grant_type', 'invalid_grant', 'invalid_scope',
        'invalid_target'
      ]
    }
  }, async (request, reply) => {
    const { grant_type: grantType, ...parameters } = request.body
    const client = await app.authenticateClient(request)
    if (!isGrantType(grantType)) throw unsupportedGrantType()
    if (!client.grant_types.includes(grantType)) throw unauthorizedClient()
    reply.header('pragma', 'no-cache')
    return await grants[grantType](app, options, { request, reply, client, parameters })
  })
}

export default token
