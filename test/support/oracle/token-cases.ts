import type { Answer } from '../client.ts'
import { toJsonCase, type JsonRow, type World } from './case.ts'
import { basicOf, credentialsOf, encode, type Parameters } from './parties.ts'

const tokens = '200 access_token expires_in id_token refresh_token scope token_type'
const otherGrant = {
  ours: '400 unauthorized_client',
  because: 'this is the code for a grant that the client may not use (RFC 6749 section 5.2)'
}
const missingVerifier = {
  ours: '400 invalid_request',
  because: 'a required parameter is missing (RFC 6749 section 5.2); a wrong one is invalid_grant (RFC 7636' +
    ' section 4.6)'
}
const mediaType = { ours: '415 invalid_request', because: 'this is its status (RFC 9110 section 15.5.16)' }
const method = { ours: '405 no error', because: 'this is its status (RFC 9110 section 15.5.6)' }
const repeated = {
  ours: tokens,
  because: 'a client whose response was lost can repeat the refresh, until the successor is used; reuse is' +
    ' still detected (RFC 9700 section 4.14.2)'
}

type ClientName = 'orders' | 'reports' | 'phone'
const redeeming = (changes: Parameters = {}, name: ClientName = 'orders', overrides: Parameters = {}) =>
  async (world: World) => await world.party.request(await world.party.code(world[name], overrides), changes)
const refreshing = (changes: Parameters = {}, name: ClientName = 'orders') =>
  async (world: World) => await world.party.request(await world.party.refreshable(world[name]), changes)
/** Sends a parameter twice. */
const repeating = (name: string) => async ({ party, orders }: World) => {
  const { client, parameters } = await party.code(orders)
  const body = `${encode(parameters)}&${encode({ [name]: parameters[name] })}`
  return await party.post('/oauth/token', body, credentialsOf(client).headers)
}
/** Redeems a code twice, and then tries what the first redemption got. */
async function replay (world: World): Promise<{ replayed: Answer, refreshed: Answer }> {
  const { party, orders } = world
  const issued = await party.code(orders)
  const { body } = await party.request(issued)
  const replayed = await party.request(issued)
  const parameters = { grant_type: 'refresh_token', refresh_token: body.refresh_token }
  return { replayed, refreshed: await party.request({ client: orders, parameters }) }
}

/** Uses a refresh token, its successor, and the first once more; then the third. */
async function reuse (world: World): Promise<{ reused: Answer, last: Answer }> {
  const { party, orders: client } = world
  const first = await party.refreshable(client)
  const next = ({ body }: Answer) =>
    ({ client, parameters: { grant_type: 'refresh_token', refresh_token: body.refresh_token } })
  const second = next(await party.request(first))
  const third = next(await party.request(second))
  return { reused: await party.request(first), last: await party.request(third) }
}

const rows: JsonRow[] = [
  ['a code', redeeming(), tokens],
  ['a code of a public client', redeeming({}, 'phone'), tokens],

  ['no grant_type', redeeming({ grant_type: undefined }), '400 invalid_request'],
  ['an empty grant_type', redeeming({ grant_type: '' }), '400 invalid_request'],
  ['an unknown grant_type', redeeming({ grant_type: 'barter' }), '400 unsupported_grant_type'],
  ['a grant_type of JavaScript', redeeming({ grant_type: 'constructor' }), '400 unsupported_grant_type'],
  ['grant_type password', redeeming({ grant_type: 'password', username: 'ada', password: 'ada' }),
    '400 unsupported_grant_type'],
  ['a grant that the client has not', redeeming({ grant_type: 'client_credentials' }),
    '400 invalid_request', otherGrant],
  ['a grant that the public client has not', redeeming({ grant_type: 'client_credentials' }, 'phone'),
    '400 invalid_request', otherGrant],
  ['a repeated grant_type', repeating('grant_type'), '400 invalid_request'],
  ['no grant_type and no client', async ({ party }) => await party.post('/oauth/token', ''),
    '400 invalid_request'],
  ['JSON', async ({ party, orders: { id, secret = '' } }) =>
    await party.post('/oauth/token', JSON.stringify({ grant_type: 'authorization_code' }), {
      authorization: basicOf(id, secret), 'content-type': 'application/json'
    }), '400 invalid_request', mediaType],
  ['GET', async ({ party }) => await party.newBrowser().get('/oauth/token?grant_type=refresh_token'),
    '404 no error, cacheable', method],

  ['no code', redeeming({ code: undefined }), '400 invalid_request'],
  ['an empty code', redeeming({ code: '' }), '400 invalid_request'],
  ['a wrong code', redeeming({ code: 'wrong' }), '400 invalid_grant'],
  ['a repeated code', repeating('code'), '400 invalid_request'],
  ['the code of another client', async ({ party, orders, reports }) => {
    const { parameters } = await party.code(reports)
    return await party.request({ client: orders, parameters })
  }, '400 invalid_grant'],
  ['a used code', async world => (await replay(world)).replayed, '400 invalid_grant'],
  ['the refresh token of a code that was used twice', async world => (await replay(world)).refreshed,
    '400 invalid_grant'],
  ['no redirect_uri', redeeming({ redirect_uri: undefined }), '400 invalid_request'],
  ['a wrong redirect_uri', redeeming({ redirect_uri: 'https://orders.example.com/other?from=login' }),
    '400 invalid_grant'],
  ['a redirect_uri with another port', redeeming(
    { redirect_uri: 'http://127.0.0.1:51005/callback' }, 'phone',
    { redirect_uri: 'http://127.0.0.1:51004/callback' }), '400 invalid_grant'],
  ['a repeated redirect_uri', repeating('redirect_uri'), '400 invalid_request'],
  ['no code_verifier', redeeming({ code_verifier: undefined }), '400 invalid_grant', missingVerifier],
  ['an empty code_verifier', redeeming({ code_verifier: '' }), '400 invalid_grant', missingVerifier],
  ['a wrong code_verifier', redeeming({ code_verifier: 'a'.repeat(43) }), '400 invalid_grant'],
  ['a short code_verifier', redeeming({ code_verifier: 'a'.repeat(42) }), '400 invalid_request'],
  ['a long code_verifier', redeeming({ code_verifier: 'a'.repeat(129) }), '400 invalid_request'],
  ['a code_verifier with a space', redeeming({ code_verifier: `${'a'.repeat(42)} ` }), '400 invalid_request'],
  ['a wrong code_verifier, and then the right one', async ({ party, orders }) => {
    const issued = await party.code(orders)
    await party.request(issued, { code_verifier: 'a'.repeat(43) })
    return await party.request(issued)
  }, tokens],
  ['an unknown parameter', redeeming({ colour: 'blue' }), tokens],
  ['without the scope openid', redeeming({}, 'orders', { scope: 'profile', nonce: undefined }),
    '200 access_token expires_in refresh_token scope token_type'],
  ['a wider scope', redeeming({ scope: 'openid profile email teleport' }), tokens],
  ['another resource', redeeming({ resource: 'https://other.example.com' }), '400 invalid_target'],

  ['a refresh', refreshing(), tokens],
  ['a refresh of a public client', refreshing({}, 'phone'), tokens],
  ['no refresh_token', refreshing({ refresh_token: undefined }), '400 invalid_request'],
  ['a wrong refresh_token', refreshing({ refresh_token: 'wrong' }), '400 invalid_grant'],
  ['an access token as refresh_token', async ({ party, orders }) => {
    const { body } = await party.tokens(orders)
    return await party.request(await party.refreshable(orders), { refresh_token: body.access_token })
  }, '400 invalid_grant'],
  ['the refresh token of another client', async ({ party, orders, reports }) => {
    const { parameters } = await party.refreshable(reports)
    return await party.request({ client: orders, parameters })
  }, '400 invalid_grant'],
  ['a narrower scope', refreshing({ scope: 'openid' }), tokens],
  ['a narrower scope without openid', refreshing({ scope: 'profile' }),
    '200 access_token expires_in refresh_token scope token_type'],
  ['a wider scope in a refresh', refreshing({ scope: 'openid profile email address' }), '400 invalid_scope'],
  ['a refresh for another resource', refreshing({ resource: 'https://other.example.com' }),
    '400 invalid_target'],
  ['a used refresh token whose successor is unused', async ({ party, orders }) => {
    const first = await party.refreshable(orders)
    await party.request(first)
    return await party.request(first)
  }, '400 invalid_grant', repeated],
  ['a superseded refresh token', async world => (await reuse(world)).reused, '400 invalid_grant'],
  ['the current refresh token after a reuse', async world => (await reuse(world)).last, '400 invalid_grant']
]

export const tokenCases = rows.map(toJsonCase)
