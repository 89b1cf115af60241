import { toAuthorizationCase, type AuthorizationRow } from './authorization-case.ts'

const implicit = {
  ours: 'unsupported_response_type',
  because: 'only the code flow exists, and its errors are in the query (RFC 6749 section 4.1.2.1)'
}
const onlyQuery = {
  ours: 'invalid_request',
  because: 'the metadata offers query alone: other values are invalid (RFC 6749 section 4.1.2.1)'
}
const s256 = {
  ours: 'invalid_request', because: 'an S256 challenge has 43 characters (RFC 7636 section 4.2)'
}
const unknownNonce = {
  ours: 'page: login',
  because: 'without openid, nonce is an unknown parameter, which is ignored (RFC 6749 section 3.1)'
}
const ignoredScopes = {
  ours: 'page: login', because: 'a part of the scope may be ignored (RFC 6749 section 3.3)'
}

const requestObject = 'eyJhbGciOiJub25lIn0.e30.'

const rows: AuthorizationRow[] = [
  ['a valid request', {}, 'page: login'],
  ['a valid request of a user who has signed in', {}, 'code', { signedIn: true }],
  ['a request in a form', {}, 'page: login', { method: 'post' }],
  ['a request of a native client on its registered URI', {}, 'page: login', { client: 'phone' }],

  // The client and its redirect URI are not proven.
  ['no client_id', { client_id: undefined }, 'page 4xx'],
  ['an empty client_id', { client_id: '' }, 'page 4xx'],
  ['an unknown client_id', { client_id: '0199e8f2-6c1c-7000-8000-0a1b2c3d4e5f' }, 'page 4xx'],
  ['a malformed client_id', { client_id: '%00' }, 'page 4xx'],
  ['a repeated client_id', {}, 'page 4xx', { added: { client_id: '0199e8f2-6c1c-7000-8000-0a1b2c3d4e5f' } }],
  ['no redirect_uri', { redirect_uri: undefined }, 'page 4xx'],
  ['an empty redirect_uri', { redirect_uri: '' }, 'page 4xx'],
  ['a malformed redirect_uri', { redirect_uri: 'orders' }, 'page 4xx'],
  ['an unregistered redirect_uri', { redirect_uri: 'https://orders.example.com/callback/x' }, 'page 4xx'],
  ['a redirect_uri with a query', { redirect_uri: 'https://orders.example.com/callback?x=1' }, 'page 4xx'],
  ['a redirect_uri with a fragment', { redirect_uri: 'https://orders.example.com/callback#x' }, 'page 4xx'],
  ['a redirect_uri in upper case', { redirect_uri: 'HTTPS://ORDERS.EXAMPLE.COM/callback' }, 'page 4xx'],
  ['a redirect_uri with a port', { redirect_uri: 'https://orders.example.com:443/callback' }, 'page 4xx'],
  ['a redirect_uri with dots in its path', { redirect_uri: 'https://orders.example.com/x/../callback' },
    'page 4xx'],
  ['a repeated redirect_uri', {},
    'page 4xx', { added: { redirect_uri: 'https://orders.example.com/callback' } }],
  ['an unregistered redirect_uri and another error',
    { redirect_uri: 'https://evil.example.com/', response_type: 'token' }, 'page 4xx'],
  ['a registered redirect_uri with a query',
    { redirect_uri: 'https://orders.example.com/other?from=login', prompt: 'none' }, 'login_required'],

  // Redirect URIs of native clients (RFC 8252 section 7).
  ['another loopback port', { redirect_uri: 'http://127.0.0.1:51004/callback' },
    'page: login', { client: 'phone' }],
  ['another loopback host', { redirect_uri: 'http://localhost/callback' }, 'page 4xx', { client: 'phone' }],
  ['another loopback path', { redirect_uri: 'http://127.0.0.1:51004/other' },
    'page 4xx', { client: 'phone' }],
  ['https on loopback', { redirect_uri: 'https://127.0.0.1:51004/callback' },
    'page 4xx', { client: 'phone' }],
  ['a user on loopback', { redirect_uri: 'http://x@127.0.0.1:51004/callback' },
    'page 4xx', { client: 'phone' }],
  ['a query on loopback', { redirect_uri: 'http://127.0.0.1:51004/callback?x' },
    'page 4xx', { client: 'phone' }],
  ['a private-use scheme', { redirect_uri: 'com.example.app:/callback' }, 'page: login', { client: 'phone' }],
  ['another private-use scheme', { redirect_uri: 'com.example.other:/callback' },
    'page 4xx', { client: 'phone' }],
  ['an error to a loopback port',
    { redirect_uri: 'http://127.0.0.1:51004/callback', prompt: 'none' },
    'login_required', { client: 'phone' }],
  ['a native client without a page', { prompt: 'none' },
    'interaction_required', { client: 'phone', signedIn: true }],
  ['a native client again', {}, 'page: consent', { client: 'phone', signedIn: true }],

  ['no response_type', { response_type: undefined }, 'invalid_request'],
  ['an empty response_type', { response_type: '' }, 'invalid_request'],
  ['a repeated response_type', {}, 'invalid_request', { added: { response_type: 'code' } }],
  ['response_type token', { response_type: 'token' },
    'unsupported_response_type, in the fragment', { difference: implicit }],
  ['response_type id_token', { response_type: 'id_token' },
    'unsupported_response_type, in the fragment', { difference: implicit }],
  ['response_type code id_token', { response_type: 'code id_token' },
    'unsupported_response_type, in the fragment', { difference: implicit }],
  ['response_type none', { response_type: 'none' }, 'unsupported_response_type'],
  ['a response_type in upper case', { response_type: 'CODE' }, 'unsupported_response_type'],
  ['an empty response_mode', { response_mode: '' }, 'page: login'],
  ['response_mode query', { response_mode: 'query' }, 'page: login'],
  ['response_mode fragment', { response_mode: 'fragment', prompt: 'none' },
    'login_required, in the fragment', { difference: onlyQuery }],
  ['response_mode form_post', { response_mode: 'form_post', prompt: 'none' },
    'page 4xx', { difference: onlyQuery }],
  ['an unknown response_mode', { response_mode: 'pigeon' },
    'unsupported_response_mode', { difference: onlyQuery }],
  ['a repeated response_mode', { response_mode: 'query' },
    'invalid_request', { added: { response_mode: 'query' } }],

  // PKCE (RFC 7636).
  ['no code_challenge', { code_challenge: undefined }, 'invalid_request'],
  ['an empty code_challenge', { code_challenge: '' }, 'invalid_request'],
  ['no code challenge and no method', { code_challenge: undefined, code_challenge_method: undefined },
    'invalid_request'],
  ['a short code_challenge', { code_challenge: 'short' }, 'invalid_request'],
  ['a long code_challenge', { code_challenge: 'a'.repeat(129) }, 'invalid_request'],
  ['a code_challenge of 44 characters', { code_challenge: 'a'.repeat(44) },
    'page: login', { difference: s256 }],
  ['a code_challenge with padding', { code_challenge: `${'a'.repeat(43)}=` }, 'invalid_request'],
  ['a repeated code_challenge', {}, 'invalid_request', { added: { code_challenge: 'a'.repeat(43) } }],
  ['no code_challenge_method', { code_challenge_method: undefined }, 'invalid_request'],
  ['code_challenge_method plain', { code_challenge_method: 'plain' }, 'invalid_request'],
  ['an unknown code_challenge_method', { code_challenge_method: 's256' }, 'invalid_request'],

  ['no state', { state: undefined }, 'page: login'],
  ['no state in an error', { state: undefined, prompt: 'none' }, 'login_required, no state'],
  ['a state with special characters', { state: 'a+b c&d=é"<>', prompt: 'none' }, 'login_required'],
  ['a repeated state', {}, 'invalid_request, no state', { added: { state: 'other' } }],
  ['no nonce', { nonce: undefined }, 'page: login'],
  ['an empty nonce', { nonce: '' }, 'page: login'],
  ['a repeated nonce', {}, 'invalid_request', { added: { nonce: 'other' } }],

  ['no scope', { scope: undefined, nonce: undefined }, 'page: login'],
  ['an empty scope', { scope: '', nonce: undefined }, 'page: login'],
  ['no scope openid', { scope: 'profile', nonce: undefined }, 'page: login'],
  ['no scope openid, with a nonce', { scope: 'profile' },
    'invalid_request', { difference: unknownNonce }],
  ['an unknown scope', { scope: 'openid teleport' }, 'page: login'],
  ['only unknown scopes', { scope: 'teleport', nonce: undefined }, 'page: login'],
  ['a scope that the client may not request', { scope: 'openid offline_access', prompt: 'consent' },
    'invalid_scope', { difference: ignoredScopes }],
  ['offline_access without prompt consent', { scope: 'openid offline_access' }, 'page: login'],
  ['a repeated scope', {}, 'invalid_request', { added: { scope: 'openid' } }],
  ['a scope with a quotation mark', { scope: 'openid "' },
    'invalid_scope', { difference: ignoredScopes }],

  ['a request object', { request: requestObject }, 'request_not_supported'],
  ['an empty request', { request: '' }, 'page: login'],
  ['a request_uri', { request_uri: 'https://orders.example.com/request.jwt' }, 'request_uri_not_supported'],
  ['an unknown pushed request', { request_uri: 'urn:ietf:params:oauth:request_uri:unknown' },
    'request_uri_not_supported'],
  ['registration', { registration: '{}' }, 'registration_not_supported'],
  ['claims', { claims: '{"id_token":{"email":null}}' }, 'page: login'],
  ['malformed claims', { claims: '{' }, 'page: login'],
  ['display, ui_locales and acr_values', { display: 'page', ui_locales: 'de', acr_values: '1' },
    'page: login'],
  ['an unknown parameter', { colour: 'blue' }, 'page: login'],
  ['an unknown parameter, repeated', { colour: 'blue' }, 'page: login', { added: { colour: 'red' } }],

  ['a resource', ({ resource }) => ({ resource }), 'page: login'],
  ['an empty resource', { resource: '' }, 'page: login'],
  ['another resource', { resource: 'https://other.example.com' }, 'invalid_target'],
  ['a resource that is no URI', { resource: 'api' }, 'invalid_target'],
  ['a resource with a fragment', ({ resource }) => ({ resource: `${resource}#x` }), 'invalid_target']
]

export const authorizationCases = rows.map(toAuthorizationCase)
