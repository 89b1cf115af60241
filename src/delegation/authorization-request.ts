import type { Client } from '../clients/records.ts'
import { grantableScopes } from './scopes.ts'

const prompts = ['none', 'login', 'consent', 'select_account', 'create'] as const
export type Prompt = typeof prompts[number]

/** A request of a client to sign a user in (RFC 6749 section 4.1.1, OpenID Connect Core section 3.1.2.1). */
export interface AuthorizationRequest {
  clientId: string
  /** As the client sent it. It is registered. */
  redirectUri: string
  state?: string
  nonce?: string
  /** The SHA-256 of the code verifier, in base64url (RFC 7636). */
  codeChallenge: string
  /** The scopes that the client may have. */
  scope: string[]
  /** The resources that the tokens are for (RFC 8707). */
  audience: string[]
  prompt: Prompt[]
  /** How long ago the user may have authenticated, in seconds. */
  maxAge?: number
  loginHint?: string
  /** The user that the client expects (`id_token_hint`); null if its hint is not valid. */
  expectedUserId?: string | null
}

/** A request whose ID token hint was not verified yet. */
export type UnverifiedRequest = Omit<AuthorizationRequest, 'expectedUserId'> & { idTokenHint?: string }

/** The parameters of a request. A parameter that is sent twice is a list. */
export type RequestParameters = Readonly<Record<string, unknown>>

/** The codes of authorization error responses (RFC 6749 section 4.1.2.1, OpenID Connect Core 3.1.2.6). */
export type AuthorizationErrorCode =
  'invalid_request' | 'unauthorized_client' | 'access_denied' | 'unsupported_response_type' |
  'invalid_target' | 'login_required' | 'consent_required' | 'interaction_required' |
  'request_not_supported' | 'request_uri_not_supported' | 'registration_not_supported' | 'server_error' |
  'temporarily_unavailable'

/** A failure that the client is told by a redirect. */
export class AuthorizationError extends Error {
  readonly code: AuthorizationErrorCode

  constructor (code: AuthorizationErrorCode, description: string) {
    super(description)
    this.name = 'AuthorizationError'
    this.code = code
  }
}

// The sealed request must fit into a URL. The hint is not sealed.
const maxLength = 2_048
const maxHintLength = 8_192

/** Reads a parameter. An empty one counts as absent (RFC 6749 section 3.1). Throws if it is repeated. */
function single (
  parameters: RequestParameters, name: string, limit = maxLength
): string | undefined {
  const value = parameters[name]
  if (value === undefined || value === '') return undefined
  if (typeof value !== 'string') {
    throw new AuthorizationError('invalid_request', `The parameter ${name} is repeated.`)
  }
  if (value.length > limit) {
    throw new AuthorizationError('invalid_request', `The parameter ${name} is too long.`)
  }
  // The database cannot store it.
  if (value.includes('\0')) {
    throw new AuthorizationError('invalid_request', `The parameter ${name} contains a NUL byte.`)
  }
  return value
}

/** Returns a parameter if it was sent exactly once and is not too long; undefined otherwise. */
export const unrepeated = (
  parameters: RequestParameters, name: string, limit = maxLength
): string | undefined => {
  const value = parameters[name]
  return typeof value === 'string' && value !== '' && value.length <= limit ? value : undefined
}

const challengeSyntax = /^[A-Za-z0-9_-]{43}$/
const words = (text: string | undefined) => [...new Set((text ?? '').split(' ').filter(Boolean))]

/**
 * Reads a request whose client and redirect URI are proven. Unknown parameters and scopes are ignored. Throws
 * an AuthorizationError.
 */
export function readAuthorizationRequest (
  parameters: RequestParameters, client: Client, redirectUri: string
): UnverifiedRequest {
  const refuse = (description: string) => new AuthorizationError('invalid_request', description)
  const read = (name: string) => single(parameters, name)
  const state = read('state')
  const responseType = read('response_type')
  if (responseType === undefined) throw refuse('The parameter response_type is missing.')
  if (responseType !== 'code') {
    throw new AuthorizationError('unsupported_response_type', 'The only response_type is code.')
  }
  if (!client.grant_types.includes('authorization_code')) {
    throw new AuthorizationError('unauthorized_client', 'The client may not use authorization codes.')
  }
  if (read('request') !== undefined) {
    throw new AuthorizationError('request_not_supported', 'Request objects are not supported.')
  }
  if (read('request_uri') !== undefined) {
    throw new AuthorizationError('request_uri_not_supported', 'The parameter request_uri is not supported.')
  }
  if (read('registration') !== undefined) {
    throw new AuthorizationError('registration_not_supported', 'A client cannot register by this request.')
  }
  if ((read('response_mode') ?? 'query') !== 'query') throw refuse('The only response_mode is query.')
  const codeChallenge = read('code_challenge')
  if (codeChallenge === undefined) throw refuse('PKCE is required: code_challenge is missing.')
  if (read('code_challenge_method') !== 'S256') throw refuse('The only code_challenge_method is S256.')
  if (!challengeSyntax.test(codeChallenge)) {
    throw refuse('The code_challenge is not 43 characters of base64url.')
  }
  const maxAge = read('max_age')
  if (maxAge !== undefined && !(/^[0-9]+$/.test(maxAge) && Number.isSafeInteger(Number(maxAge)))) {
    throw refuse('The parameter max_age is not a number of seconds.')
  }
  const nonce = read('nonce')
  const loginHint = read('login_hint')
  const idTokenHint = single(parameters, 'id_token_hint', maxHintLength)
  const scope = read('scope')
  return {
    clientId: client.client_id,
    redirectUri,
    codeChallenge,
    scope: grantableScopes(client, scope === undefined ? undefined : words(scope)),
    audience: readAudience(parameters['resource'], client),
    prompt: readPrompt(read('prompt')),
    ...state !== undefined && { state },
    ...nonce !== undefined && { nonce },
    ...maxAge !== undefined && { maxAge: Number(maxAge) },
    ...loginHint !== undefined && { loginHint },
    ...idTokenHint !== undefined && { idTokenHint }
  }
}

function readPrompt (text: string | undefined): Prompt[] {
  const named = words(text)
  const known = prompts.filter(prompt => named.includes(prompt))
  if (known.length < named.length) {
    throw new AuthorizationError('invalid_request', 'The parameter prompt has an unknown value.')
  }
  if (known.includes('none') && known.length > 1) {
    throw new AuthorizationError('invalid_request', 'The prompt none excludes other values.')
  }
  return known
}

/** RFC 8707 section 2: the parameter may be repeated. */
function readAudience (value: unknown, { audiences }: Client): string[] {
  const resources = [...new Set([value ?? []].flat().filter(each => each !== ''))]
  return resources.map(resource => {
    if (typeof resource === 'string' && audiences.includes(resource)) return resource
    throw new AuthorizationError('invalid_target', 'The client may not request tokens for this resource.')
  })
}
