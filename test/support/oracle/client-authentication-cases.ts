import { toJsonCase, type Difference, type JsonRow, type World } from './case.ts'
import { basicOf, type SentCredentials, type RegisteredClient } from './parties.ts'

// How a client authenticates at the token endpoint (RFC 6749 section 2.3).

const withChallenge = '401 invalid_client, challenge Basic'
const challenged = { ours: withChallenge, because: 'a 401 has a challenge (RFC 9110 section 15.5.2)' }
const noCredentials = {
  ours: withChallenge,
  because: 'invalid_client is also for a request without client authentication (RFC 6749 section 5.2)'
}
const authorizationHeader = {
  ours: withChallenge,
  because: 'a client that fails in the Authorization header gets 401 (RFC 6749 section 5.2)'
}
const registeredMethod = {
  ours: withChallenge,
  because: 'a client authenticates by the one method that it registered (RFC 7591 section 2)'
}

type ClientAuthenticationRow = [
  name: string,
  client: 'orders' | 'reports' | 'phone',
  credentials: (client: RegisteredClient, world: World) => SentCredentials,
  expected: string,
  difference?: Difference
]
const toRow = ([name, client, credentials, expected, difference]: ClientAuthenticationRow): JsonRow => [
  name,
  async world =>
    await world.party.request(await world.party.code(world[client]), {}, credentials(world[client], world)),
  expected,
  difference
]

const header = (authorization: string, parameters: Record<string, string> = {}): SentCredentials =>
  ({ headers: { authorization }, parameters })
const basic = ({ id, secret = '' }: RegisteredClient, parameters?: Record<string, string>) =>
  header(basicOf(id, secret), parameters)
const form = (id: string, secret?: string): SentCredentials =>
  ({ parameters: { client_id: id, ...secret !== undefined && { client_secret: secret } } })

const tokens = '200 access_token expires_in id_token refresh_token scope token_type'
const rows: ClientAuthenticationRow[] = [
  ['client_secret_basic', 'orders', client => basic(client), tokens],
  ['client_secret_post', 'reports', ({ id, secret }) => form(id, secret), tokens],
  ['a public client', 'phone', ({ id }) => form(id), tokens],
  ['the scheme in lower case', 'orders',
    ({ id, secret = '' }) => header(basicOf(id, secret).replace('Basic', 'basic')), tokens],
  ['Basic, with the same client_id in the form', 'orders',
    client => basic(client, { client_id: client.id }), tokens],
  ['Basic, with another client_id in the form', 'orders',
    (client, { phone }) => basic(client, { client_id: phone.id }), '400 invalid_request'],
  ['Basic and a secret in the form', 'orders',
    client => basic(client, form(client.id, client.secret).parameters), '400 invalid_request'],

  ['no credentials', 'orders', () => ({}), '400 invalid_request', noCredentials],
  ['no secret', 'orders', ({ id }) => form(id), '401 invalid_client', challenged],
  ['an empty secret in the form', 'reports', ({ id }) => form(id, ''), '401 invalid_client', challenged],
  ['a wrong secret in Basic', 'orders', ({ id }) => header(basicOf(id, 'wrong')), withChallenge],
  ['a wrong secret in the form', 'reports', ({ id }) => form(id, 'wrong'), '401 invalid_client', challenged],
  ['the form instead of Basic', 'orders', ({ id, secret }) => form(id, secret), tokens, registeredMethod],
  ['Basic instead of the form', 'reports', client => basic(client), tokens, registeredMethod],
  ['an unknown client in Basic', 'orders', () => header(basicOf('unknown', 'secret')), withChallenge],
  ['an unknown client in the form', 'orders', () => form('unknown', 'secret'),
    '401 invalid_client', challenged],
  ['the secret of another client', 'orders', ({ id }, { reports: { secret = '' } }) =>
    header(basicOf(id, secret)), withChallenge],
  ['a public client with a secret', 'phone', ({ id }) => form(id, 'secret'),
    '401 invalid_client', challenged],
  ['a public client in Basic', 'phone', ({ id }) => header(basicOf(id, '')),
    '400 invalid_request', authorizationHeader],
  ['a malformed Basic header', 'orders', () => header('Basic !'),
    '400 invalid_request', authorizationHeader],
  ['a Basic header without a colon', 'orders', () => header(`Basic ${btoa('client')}`),
    '400 invalid_request', authorizationHeader],
  ['another scheme', 'orders', () => header('Bearer token'),
    '400 invalid_request', authorizationHeader]
]

export const clientAuthenticationCases = rows.map(toRow).map(toJsonCase)
