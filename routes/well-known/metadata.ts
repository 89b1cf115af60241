import { Type } from '@sinclair/typebox'
import { userInfoUrl } from '../../src/delegation/endpoints.ts'
import type { Roles } from '../../src/syntax/roles.ts'
import { strict } from '../typed.ts'

const url = (description?: string) =>
  Type.String({ format: 'uri', ...description !== undefined && { description } })
const list = Type.Array(Type.String())

export interface MetadataOptions {
  issuer: string
  /** Whether the page `/docs` exists. */
  hasDocs: boolean
  /** The algorithm of access tokens, which ID tokens can have too. */
  algorithm: string
  roles: Roles
}

/** The metadata of the service (RFC 8414, OpenID Connect Discovery 1.0). */
export const Metadata = strict({
  issuer: url(),
  jwks_uri: url(),
  authorization_endpoint: url(),
  token_endpoint: url(),
  userinfo_endpoint: url(),
  end_session_endpoint: url(),
  introspection_endpoint: url(),
  revocation_endpoint: url(),
  revocation_feed_endpoint: url(
    'The revocation feed (server-sent events). This member is specific to Latchkey.'
  ),
  scopes_supported: list,
  response_types_supported: list,
  response_modes_supported: list,
  grant_types_supported: list,
  subject_types_supported: list,
  id_token_signing_alg_values_supported: list,
  claims_supported: list,
  prompt_values_supported: list,
  ui_locales_supported: list,
  code_challenge_methods_supported: list,
  token_endpoint_auth_methods_supported: list,
  introspection_endpoint_auth_methods_supported: list,
  revocation_endpoint_auth_methods_supported: list,
  authorization_response_iss_parameter_supported: Type.Boolean(),
  backchannel_logout_supported: Type.Boolean(),
  backchannel_logout_session_supported: Type.Boolean(),
  claims_parameter_supported: Type.Boolean(),
  request_parameter_supported: Type.Boolean(),
  request_uri_parameter_supported: Type.Boolean(),
  service_documentation: Type.Optional(url())
}, {
  description: 'The metadata.',
  examples: [createMetadata({
    issuer: 'https://auth.example.com', hasDocs: true, algorithm: 'ES256', roles: {}
  })]
})

/** Creates the metadata. */
export function createMetadata ({ issuer, hasDocs, algorithm, roles }: MetadataOptions) {
  const withSecret = ['client_secret_basic', 'client_secret_post']
  return {
    issuer,
    jwks_uri: `${issuer}/.well-known/jwks.json`,
    authorization_endpoint: `${issuer}/oauth/authorize`,
    token_endpoint: `${issuer}/oauth/token`,
    userinfo_endpoint: userInfoUrl(issuer),
    end_session_endpoint: `${issuer}/oauth/logout`,
    introspection_endpoint: `${issuer}/oauth/introspect`,
    revocation_endpoint: `${issuer}/oauth/revoke`,
    revocation_feed_endpoint: `${issuer}/oauth/revocations`,
    scopes_supported: [
      ...new Set(['openid', 'profile', 'email', 'offline_access', ...Object.values(roles).flat()])
    ],
    response_types_supported: ['code'],
    response_modes_supported: ['query'],
    grant_types_supported: ['authorization_code', 'refresh_token', 'client_credentials'],
    subject_types_supported: ['public'],
    id_token_signing_alg_values_supported: [...new Set(['RS256', algorithm])],
    claims_supported: [
      'iss', 'sub', 'aud', 'exp', 'iat', 'auth_time', 'amr', 'nonce', 'at_hash', 'sid', 'name',
      'preferred_username', 'updated_at', 'email', 'email_verified'
    ],
    prompt_values_supported: ['none', 'login', 'consent', 'select_account', 'create'],
    ui_locales_supported: ['en', 'de'],
    code_challenge_methods_supported: ['S256'],
    token_endpoint_auth_methods_supported: [...withSecret, 'none'],
    introspection_endpoint_auth_methods_supported: withSecret,
    revocation_endpoint_auth_methods_supported: [...withSecret, 'none'],
    authorization_response_iss_parameter_supported: true,
    backchannel_logout_supported: true,
    backchannel_logout_session_supported: true,
    claims_parameter_supported: false,
    request_parameter_supported: false,
    request_uri_parameter_supported: false,
    ...hasDocs && { service_documentation: `${issuer}/docs` }
  }
}
