import { Type } from '@sinclair/typebox'
import { strict, type Typed } from '../typed.ts'

export interface WellKnownOptions {
  issuer: string
  /** In seconds. */
  jwksMaxAge: number
  /** Whether the page `/docs` exists. */
  docs: boolean
}

const url = (description?: string) =>
  Type.String({ format: 'uri', ...description !== undefined && { description } })

const Jwk = strict({
  kty: Type.String(),
  use: Type.Literal('sig'),
  alg: Type.String(),
  kid: Type.String(),
  crv: Type.Optional(Type.String()),
  x: Type.Optional(Type.String()),
  y: Type.Optional(Type.String()),
  n: Type.Optional(Type.String()),
  e: Type.Optional(Type.String())
})
const exampleJwk = {
  kty: 'EC',
  use: 'sig',
  alg: 'ES256',
  kid: 'mB5hG0xWd6wqCqXvYp1oYqkq9o5v7sE8Qm2c4h0nUeA',
  crv: 'P-256',
  x: 'f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU',
  y: 'x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0'
}

const Metadata = strict({
  issuer: url(),
  jwks_uri: url(),
  token_endpoint: url(),
  token_endpoint_auth_methods_supported: Type.Array(Type.String()),
  introspection_endpoint: url(),
  introspection_endpoint_auth_methods_supported: Type.Array(Type.String()),
  revocation_endpoint: url(),
  revocation_endpoint_auth_methods_supported: Type.Array(Type.String()),
  revocation_feed_endpoint: url(
    'The revocation feed (server-sent events). This member is specific to Latchkey.'
  ),
  response_types_supported: Type.Array(Type.String()),
  grant_types_supported: Type.Array(Type.String()),
  subject_types_supported: Type.Array(Type.String()),
  service_documentation: Type.Optional(url())
}, { description: 'The metadata.', examples: [createMetadata('https://auth.example.com', true)] })

const metadataAddresses = [
  {
    path: '/oauth-authorization-server',
    operationId: 'getMetadata',
    description: 'The authorization server metadata (RFC 8414).'
  },
  {
    path: '/openid-configuration',
    operationId: 'getOpenIdConfiguration',
    description: 'The same document at the address of OpenID Connect Discovery 1.0, for libraries that read' +
      ' only that address. Latchkey has no authorization endpoint and issues no ID tokens.'
  }
]

/** The documents with which other services verify tokens. */
const wellKnown: Typed<WellKnownOptions> = async (app, { issuer, jwksMaxAge, docs }) => {
  const cacheable = { 'cache-control': `public, max-age=${jwksMaxAge}` }

  app.get('/jwks.json', {
    schema: {
      operationId: 'getJwks',
      tags: ['Verification'],
      summary: 'Read the public keys',
      description: 'The JSON Web Key Set (RFC 7517) that verifies access tokens and ID tokens. It contains' +
        ' the current keys, the next ones, and the old ones whose tokens are still valid.',
      security: [],
      response: {
        200: strict({ keys: Type.Array(Jwk) }, {
          description: 'The public keys.', examples: [{ keys: [exampleJwk] }]
        })
      }
    },
    config: { limit: 'none', isPublicDocument: true, problems: ['database_unavailable'] }
  }, async (_request, reply) => {
    const keys = app.keyring.getPublishedKeys()
    reply.headers(cacheable)
    return { keys }
  })

  // One document at two addresses: many libraries look only at the one of OpenID Connect.
  for (const { path, operationId, description } of metadataAddresses) {
    app.get(path, {
      schema: {
        operationId,
        tags: ['Verification'],
        summary: 'Read the metadata of the service',
        description,
        security: [],
        response: { 200: Metadata }
      },
      config: { isPublicDocument: true }
    }, async (_request, reply) => {
      reply.headers(cacheable)
      return createMetadata(issuer, docs)
    })
  }
}

function createMetadata (issuer: string, docs: boolean) {
  const clientAuthentication = ['client_secret_basic', 'client_secret_post']
  return {
    issuer,
    jwks_uri: `${issuer}/.well-known/jwks.json`,
    token_endpoint: `${issuer}/oauth/token`,
    token_endpoint_auth_methods_supported: clientAuthentication,
    introspection_endpoint: `${issuer}/oauth/introspect`,
    introspection_endpoint_auth_methods_supported: clientAuthentication,
    revocation_endpoint: `${issuer}/oauth/revoke`,
    revocation_endpoint_auth_methods_supported: clientAuthentication,
    revocation_feed_endpoint: `${issuer}/oauth/revocations`,
    response_types_supported: [],
    grant_types_supported: ['client_credentials'],
    subject_types_supported: ['public'],
    ...docs && { service_documentation: `${issuer}/docs` }
  }
}

export default wellKnown
