import { Type } from '@sinclair/typebox'
import { strict, type Typed } from '../typed.ts'

export interface WellKnownOptions {
  issuer: string
  /** Seconds. */
  jwksMaxAge: number
  /** Whether there is a page `/docs` to point to. */
  docs: boolean
}

/** What other services need to know to verify tokens. */
const wellKnown: Typed<WellKnownOptions> = async (app, { issuer, jwksMaxAge, docs }) => {
  const cacheable = { 'cache-control': `public, max-age=${jwksMaxAge}` }

  app.get('/jwks.json', {
    schema: {
      operationId: 'getJwks',
      tags: ['Verification'],
      summary: 'The public keys of the tokens',
      description: 'The JSON Web Key Set (RFC 7517) that access tokens are verified with: the keys that sign, will sign, or have signed tokens still alive.',
      security: [],
      response: {
        200: strict({
          keys: Type.Array(strict({
            kty: Type.String(),
            use: Type.Literal('sig'),
            alg: Type.String(),
            kid: Type.String(),
            crv: Type.Optional(Type.String()),
            x: Type.Optional(Type.String()),
            y: Type.Optional(Type.String()),
            n: Type.Optional(Type.String()),
            e: Type.Optional(Type.String())
          }))
        }, { examples: [{ keys: [{ kty: 'EC', use: 'sig', alg: 'ES256', kid: 'mB5hG0xWd6wqCqXvYp1oYqkq9o5v7sE8Qm2c4h0nUeA', crv: 'P-256', x: 'f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU', y: 'x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0' }] }] })
      }
    },
    config: { limit: 'none', problems: ['database_unavailable'] }
  }, async (_request, reply) => {
    const keys = app.keyring.getPublishedKeys()
    reply.headers(cacheable)
    return { keys }
  })

  app.get('/oauth-authorization-server', {
    schema: {
      operationId: 'getMetadata',
      tags: ['Verification'],
      summary: 'The metadata of the service',
      description: 'The authorization server metadata of RFC 8414, as far as there is something to tell.',
      security: [],
      response: {
        200: strict({
          issuer: Type.String({ format: 'uri' }),
          jwks_uri: Type.String({ format: 'uri' }),
          token_endpoint: Type.String({ format: 'uri' }),
          token_endpoint_auth_methods_supported: Type.Array(Type.String()),
          introspection_endpoint: Type.String({ format: 'uri' }),
          introspection_endpoint_auth_methods_supported: Type.Array(Type.String()),
          revocation_endpoint: Type.String({ format: 'uri' }),
          revocation_endpoint_auth_methods_supported: Type.Array(Type.String()),
          revocation_feed_endpoint: Type.String({ format: 'uri', description: 'Server-sent events of what ends; a member of our own.' }),
          response_types_supported: Type.Array(Type.String()),
          grant_types_supported: Type.Array(Type.String()),
          service_documentation: Type.Optional(Type.String({ format: 'uri' }))
        }, { examples: [metadata('https://auth.example.com', docs)] })
      }
    }
  }, async (_request, reply) => {
    reply.headers(cacheable)
    return metadata(issuer, docs)
  })
}

const authentication = ['client_secret_basic', 'client_secret_post']

const metadata = (issuer: string, docs: boolean) => ({
  issuer,
  jwks_uri: `${issuer}/.well-known/jwks.json`,
  token_endpoint: `${issuer}/oauth/token`,
  token_endpoint_auth_methods_supported: authentication,
  introspection_endpoint: `${issuer}/oauth/introspect`,
  introspection_endpoint_auth_methods_supported: authentication,
  revocation_endpoint: `${issuer}/oauth/revoke`,
  revocation_endpoint_auth_methods_supported: authentication,
  revocation_feed_endpoint: `${issuer}/oauth/revocations`,
  response_types_supported: [],
  grant_types_supported: ['client_credentials'],
  ...docs && { service_documentation: `${issuer}/docs` }
})

export default wellKnown
