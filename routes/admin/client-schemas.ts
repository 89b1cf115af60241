import { Type } from '@sinclair/typebox'
import {
  applicationTypes, authMethods, clientPermissions, grantTypes, idTokenAlgorithms
} from '../../src/clients/metadata.ts'
import { scopeSyntax } from '../../src/syntax/scope.ts'
import { orNull, time } from '../schemas.ts'
import { strict, text } from '../typed.ts'

const oneOf = <const Words extends readonly string[]>(words: Words, options: object = {}) =>
  Type.Unsafe<Words[number]>({ type: 'string', enum: [...words], ...options })
const uri = (example: string) => Type.String({ minLength: 1, maxLength: 2048, examples: [example] })
const scope = Type.String({ pattern: scopeSyntax.source, examples: ['orders:read'] })

const callback = 'https://orders.example.com/callback'
const backchannelUri = 'https://orders.example.com/backchannel-logout'
const backchannelDescription = 'The URL that Latchkey notifies when the session of a user with this client' +
  ' ends. It must use https and a public address, unless the operator allows others.'

/** The members that an administrator sets, of which only the name is required. */
const metadata = {
  name: text(1, 100, { description: 'The name of the client.', examples: ['Orders'] }),
  application_type: oneOf(applicationTypes, {
    description: '`web`, or `native` for an application on the user\'s own device. The default is `web`.'
  }),
  grant_types: Type.Array(oneOf(grantTypes), {
    minItems: 1,
    maxItems: 10,
    description: 'The grants that the client may use. The default is `authorization_code` and' +
      ' `refresh_token` if it has redirect URIs, otherwise `client_credentials`.'
  }),
  redirect_uris: Type.Array(uri(callback), {
    maxItems: 20,
    description: 'The URIs to which users may come back after the sign-in. A request must name one of them' +
      ' exactly.'
  }),
  post_logout_redirect_uris: Type.Array(uri('https://orders.example.com/'), {
    maxItems: 20, description: 'The URIs to which users may be sent after the sign-out.'
  }),
  token_endpoint_auth_method: orNull<typeof authMethods[number]>(
    { type: 'string', enum: [...authMethods] },
    'How the client authenticates. `none` is for a public client, which has no secret. If it is never set,' +
      ' or null, the client may use `client_secret_basic` or `client_secret_post`.'
  ),
  backchannel_logout_uri: orNull<string>(
    { type: 'string', minLength: 1, maxLength: 2048, examples: [backchannelUri] }, backchannelDescription
  ),
  id_token_signed_response_alg: oneOf(idTokenAlgorithms, {
    description: 'The algorithm of the client\'s ID tokens: `RS256`, which is the default, or that of' +
      ' access tokens.'
  }),
  userinfo_in_id_token: Type.Boolean({
    description: 'Whether the client\'s ID tokens contain the claims of userinfo, for a library that reads' +
      ' only the ID token. The default is false.'
  }),
  first_party: Type.Boolean({
    description: 'Whether your own team runs the client. Its users are not asked for their consent. The' +
      ' default is false.'
  }),
  audiences: Type.Array(uri('https://api.example.com'), {
    maxItems: 20, description: 'The services that the client may request tokens of users for (RFC 8707).'
  }),
  permissions: Type.Array(oneOf(clientPermissions), {
    maxItems: 10, description: '`roles` lets its tokens contain the roles of the user.'
  }),
  scopes: Type.Array(scope, {
    maxItems: 50,
    description: 'The scopes that the client can request. `introspect`, `revocations` and `sessions:end`' +
      ' are rights in Latchkey. The default is `openid`, `profile` and `email` if the client has redirect' +
      ' URIs, otherwise none.'
  })
}
const { name, ...others } = metadata
const optional = {
  application_type: Type.Optional(others.application_type),
  grant_types: Type.Optional(others.grant_types),
  redirect_uris: Type.Optional(others.redirect_uris),
  post_logout_redirect_uris: Type.Optional(others.post_logout_redirect_uris),
  token_endpoint_auth_method: Type.Optional(others.token_endpoint_auth_method),
  backchannel_logout_uri: Type.Optional(others.backchannel_logout_uri),
  id_token_signed_response_alg: Type.Optional(others.id_token_signed_response_alg),
  userinfo_in_id_token: Type.Optional(others.userinfo_in_id_token),
  first_party: Type.Optional(others.first_party),
  audiences: Type.Optional(others.audiences),
  permissions: Type.Optional(others.permissions),
  scopes: Type.Optional(others.scopes)
}

export const newClient = strict({ name, ...optional }, {
  examples: [
    { name: 'Shop', redirect_uris: ['https://shop.example.com/callback'] },
    { name: 'Orders', scopes: ['orders:read', 'introspect'] }
  ]
})
export const clientChange = strict({ name: Type.Optional(name), ...optional }, {
  examples: [{ scopes: ['orders:read'] }]
})

const client = {
  client_id: Type.String({ format: 'uuid' }),
  ...metadata,
  token_endpoint_auth_method: oneOf(authMethods, {
    description: 'How the client authenticates. If no method was set, this is `client_secret_basic`, and' +
      ' the client may also use `client_secret_post`.'
  }),
  created_at: time('When the client was created.')
}
const clientExample = {
  client_id: '0199e8f2-6c1d-7c44-9a3e-0a1b2c3d4e5f',
  name: 'Orders',
  application_type: 'web',
  grant_types: ['authorization_code', 'refresh_token'],
  redirect_uris: [callback],
  post_logout_redirect_uris: ['https://orders.example.com/'],
  token_endpoint_auth_method: 'client_secret_basic',
  backchannel_logout_uri: backchannelUri,
  id_token_signed_response_alg: 'RS256',
  userinfo_in_id_token: false,
  first_party: false,
  audiences: ['https://api.example.com'],
  permissions: [],
  scopes: ['openid', 'profile', 'email'],
  created_at: '2026-11-22T09:00:00.000Z'
}
const secret = Type.String({ description: 'The secret of the client. It is shown only this once.' })
const exampleWithSecret = { ...clientExample, client_secret: 'lks_AQIDBAUG…' }

export const Client = strict(client, { $id: 'Client', examples: [clientExample] })
export const ClientWithSecret =
  strict({ ...client, client_secret: secret }, { $id: 'ClientWithSecret', examples: [exampleWithSecret] })
export const CreatedClient = strict({
  ...client,
  client_secret: Type.Optional(Type.String({
    description: 'The secret of the client. It is shown only this once. A public client has none.'
  }))
}, { $id: 'CreatedClient', examples: [exampleWithSecret] })
