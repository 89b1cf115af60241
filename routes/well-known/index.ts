import { Type } from '@sinclair/typebox'
import { strict, type Typed } from '../typed.ts'
import { createMetadata, Metadata, type MetadataOptions } from './metadata.ts'

export interface WellKnownOptions extends MetadataOptions {
  jwksMaxAgeSeconds: number
}

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

const metadataAddresses = [
  {
    path: '/oauth-authorization-server',
    operationId: 'getMetadata',
    description: 'The authorization server metadata (RFC 8414).'
  },
  {
    path: '/openid-configuration',
    operationId: 'getOpenIdConfiguration',
    description: 'The same document at the address of OpenID Connect Discovery 1.0.'
  }
]

/** The documents with which other services verify tokens. */
const wellKnown: Typed<WellKnownOptions> = async (app, { jwksMaxAgeSeconds, ...options }) => {
  const metadata = createMetadata(options)
  const cacheable = { 'cache-control': `public, max-age=${jwksMaxAgeSeconds}` }

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

  // One document at two addresses: libraries of OpenID Connect look only at theirs.
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
      return metadata
    })
  }
}

export default wellKnown
