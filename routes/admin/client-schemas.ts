import { Type } from '@sinclair/typebox'
import { scopeSyntax } from '../../src/syntax/scope.ts'
import { time } from '../schemas.ts'
import { strict, text } from '../typed.ts'

const scope = Type.String({ pattern: scopeSyntax.source, examples: ['orders:read'] })
// RFC 6749 section 3.1.2: an absolute URI without a fragment. Credentials in it would only deceive the user.
const redirectUri = Type.String({
  format: 'uri',
  maxLength: 2048,
  pattern: '^https?://[^/?#@]+([/?][^#]*)?$',
  examples: ['https://orders.example.com/callback']
})

const scopesDescription = 'The scopes that the client can request. `introspect`, `revocations` and' +
  ' `sessions:end` are rights in Latchkey.'
const redirectUrisDescription = 'The URIs that users may be redirected to.'

export const clientName = text(1, 100, { description: 'The name of the client.', examples: ['Orders'] })
export const scopes = Type.Array(scope, { maxItems: 50, description: scopesDescription })
export const redirectUris = Type.Array(redirectUri, { maxItems: 20, description: redirectUrisDescription })

const client = {
  client_id: Type.String({ format: 'uuid' }),
  name: Type.String(),
  scopes: Type.Array(Type.String(), { description: scopesDescription }),
  redirect_uris: Type.Array(Type.String(), { description: redirectUrisDescription }),
  created_at: time('When the client was created.')
}
const clientExample = {
  client_id: '0199e8f2-6c1d-7c44-9a3e-0a1b2c3d4e5f',
  name: 'Orders',
  scopes: ['orders:read', 'introspect'],
  redirect_uris: ['https://orders.example.com/callback'],
  created_at: '2026-11-22T09:00:00.000Z'
}

export const Client = strict(client, { $id: 'Client', examples: [clientExample] })

export const ClientWithSecret = strict({
  ...client,
  client_secret: Type.String({ description: 'The secret of the client. It is shown only this once.' })
}, { $id: 'ClientWithSecret', examples: [{ ...clientExample, client_secret: 'lks_AQIDBAUG…' }] })
