/** Where a client runs: on a server or in a browser, or on the user's own device (RFC 8252). */
export const applicationTypes = ['web', 'native'] as const
export const grantTypes = ['client_credentials', 'authorization_code', 'refresh_token'] as const
/** `none` is the method of a public client, which has no secret. */
export const authMethods = ['client_secret_basic', 'client_secret_post', 'none'] as const
export const idTokenAlgorithms = ['RS256', 'ES256', 'EdDSA'] as const
/** `roles` lets the tokens of a client contain the roles of the user. */
export const clientPermissions = ['roles'] as const

export type ApplicationType = typeof applicationTypes[number]
export type GrantType = typeof grantTypes[number]
export type AuthMethod = typeof authMethods[number]
export type IdTokenAlgorithm = typeof idTokenAlgorithms[number]
export type ClientPermission = typeof clientPermissions[number]

/** What an administrator decides about a client (RFC 7591 section 2). */
export interface ClientMetadata {
  name: string
  application_type: ApplicationType
  grant_types: GrantType[]
  redirect_uris: string[]
  post_logout_redirect_uris: string[]
  /** Null if the client may send its secret by `client_secret_basic` or by `client_secret_post`. */
  token_endpoint_auth_method: AuthMethod | null
  backchannel_logout_uri: string | null
  id_token_signed_response_alg: IdTokenAlgorithm
  /** Whether its ID tokens contain the claims of userinfo, because its library reads only the ID token. */
  userinfo_in_id_token: boolean
  /** Whether the operator's own team runs the client. Its users are not asked for their consent. */
  first_party: boolean
  /** The resources that it may request tokens for (RFC 8707). */
  audiences: string[]
  permissions: ClientPermission[]
  /** The scopes that it may request, and its rights at this service. */
  scopes: string[]
}

export type ClientMember = keyof ClientMetadata

/** The metadata of a new client. What is absent gets its default. */
export type NewClient = Pick<ClientMetadata, 'name'> & Partial<ClientMetadata>
/** New values for some members. */
export type ClientChange = Partial<ClientMetadata>

// `offline_access` lets a client act after the user has signed out. Only an administrator who names it wants
// that.
const defaultUserScopes = ['openid', 'profile', 'email']

/** Completes the metadata of a new client with the defaults. */
export function withDefaults (client: NewClient): ClientMetadata {
  const isForUsers = (client.redirect_uris ?? []).length > 0
  return withoutRepetitions({
    application_type: 'web',
    grant_types: isForUsers ? ['authorization_code', 'refresh_token'] : ['client_credentials'],
    redirect_uris: [],
    post_logout_redirect_uris: [],
    token_endpoint_auth_method: null,
    backchannel_logout_uri: null,
    id_token_signed_response_alg: 'RS256',
    userinfo_in_id_token: false,
    first_party: false,
    audiences: [],
    permissions: [],
    scopes: isForUsers ? defaultUserScopes : [],
    ...client
  })
}

/** The metadata after a change. */
export const changed = (metadata: ClientMetadata, change: ClientChange): ClientMetadata =>
  withoutRepetitions({ ...metadata, ...change })

const withoutRepetitions = (metadata: ClientMetadata): ClientMetadata => ({
  name: metadata.name,
  application_type: metadata.application_type,
  grant_types: [...new Set(metadata.grant_types)],
  redirect_uris: [...new Set(metadata.redirect_uris)],
  post_logout_redirect_uris: [...new Set(metadata.post_logout_redirect_uris)],
  token_endpoint_auth_method: metadata.token_endpoint_auth_method,
  backchannel_logout_uri: metadata.backchannel_logout_uri,
  id_token_signed_response_alg: metadata.id_token_signed_response_alg,
  userinfo_in_id_token: metadata.userinfo_in_id_token,
  first_party: metadata.first_party,
  audiences: [...new Set(metadata.audiences)],
  permissions: [...new Set(metadata.permissions)],
  scopes: [...new Set(metadata.scopes)]
})

/** The members whose values differ. */
export function differences (before: ClientMetadata, after: ClientMetadata): ClientMember[] {
  const members = Object.keys(after) as ClientMember[]
  return members.filter(member => JSON.stringify(before[member]) !== JSON.stringify(after[member]))
}

/** Whether a client is public: it runs where it cannot keep a secret (RFC 6749 section 2.1). */
export const isPublicClient = (client: Pick<ClientMetadata, 'token_endpoint_auth_method'>): boolean =>
  client.token_endpoint_auth_method === 'none'
