import { toJsonCase, type JsonRow, type World } from './case.ts'
import { basicOf, encode, type Parameters } from './parties.ts'

const noToken = {
  ours: '401 invalid_token, challenge Bearer',
  because: 'without a token, the challenge names no error (RFC 6750 section 3.1)'
}
const inQuery = {
  ours: noToken.ours, because: 'a token in the query is not read (RFC 9700 section 4.3.2)'
}
const otherAudience = {
  ours: '401 invalid_token, challenge Bearer invalid_token',
  because: 'a token for another audience is not valid (RFC 9068 section 4)'
}

const path = '/oauth/userinfo'
/** Sends the access token of a new session. */
const bearer = (overrides: Parameters = {}, scheme = 'Bearer') => async ({ party, orders }: World) => {
  const { body } = await party.tokens(orders, overrides)
  return await party.newBrowser().get(path, { authorization: `${scheme} ${body.access_token}` })
}
const authorized = (authorization: string) => async ({ party }: World) =>
  await party.newBrowser().get(path, { authorization })

const rows: JsonRow[] = [
  ['an access token', bearer(), '200 email email_verified sub updated_at'],
  ['an access token with the scope email', bearer({ scope: 'openid email' }), '200 email email_verified sub'],
  ['an access token with the scope openid', bearer({ scope: 'openid' }), '200 sub'],
  ['an access token without the scope openid', bearer({ scope: 'profile', nonce: undefined }),
    '403 insufficient_scope, challenge Bearer insufficient_scope'],
  ['the scheme in lower case', bearer({}, 'bearer'), '200 email email_verified sub updated_at'],
  ['no token', async ({ party }) => await party.newBrowser().get(path),
    '401 invalid_token, challenge Bearer'],
  ['a wrong token', authorized('Bearer wrong'), '401 invalid_token, challenge Bearer invalid_token'],
  ['no token after the scheme', authorized('Bearer'),
    '400 invalid_request, challenge Bearer invalid_request', noToken],
  ['another scheme', authorized(basicOf('client', 'secret')),
    '400 invalid_request, challenge Bearer invalid_request', noToken],
  ['an ID token', async ({ party, orders }) => {
    const { body } = await party.tokens(orders)
    return await party.newBrowser().get(path, { authorization: `Bearer ${body.id_token}` })
  }, '401 invalid_token, challenge Bearer invalid_token'],
  ['a refresh token', async ({ party, orders }) => {
    const { body } = await party.tokens(orders)
    return await party.newBrowser().get(path, { authorization: `Bearer ${body.refresh_token}` })
  }, '401 invalid_token, challenge Bearer invalid_token'],
  ['a token for a resource', async ({ party, orders, resource }) => {
    const { body } = await party.tokens(orders, { resource, prompt: 'consent' })
    return await party.newBrowser().get(path, { authorization: `Bearer ${body.access_token}` })
  }, '403 insufficient_scope, challenge Bearer insufficient_scope', otherAudience],
  ['a token in the query', async ({ party, orders }) => {
    const { body } = await party.tokens(orders)
    return await party.newBrowser().get(`${path}?access_token=${body.access_token}`)
  }, '400 invalid_request, challenge Bearer invalid_request', inQuery],
  ['POST with the header', async ({ party, orders }) => {
    const { body } = await party.tokens(orders)
    return await party.post(path, '', { authorization: `Bearer ${body.access_token}` })
  }, '200 email email_verified sub updated_at'],
  ['POST with the token in the form', async ({ party, orders }) => {
    const { body } = await party.tokens(orders)
    return await party.post(path, encode({ access_token: body.access_token }))
  }, '200 email email_verified sub updated_at'],
  ['POST with a wrong token in the form', async ({ party }) =>
    await party.post(path, encode({ access_token: 'wrong' })),
  '401 invalid_token, challenge Bearer invalid_token'],
  ['POST without a token', async ({ party }) => await party.post(path, ''),
    '401 invalid_token, challenge Bearer'],
  ['the token in the header and in the form', async ({ party, orders }) => {
    const { body } = await party.tokens(orders)
    const { access_token: token } = body
    return await party.post(path, encode({ access_token: token }), { authorization: `Bearer ${token}` })
  }, '400 invalid_request, challenge Bearer invalid_request'],
  ['the token of a session that has ended', async ({ party, orders }) => {
    const issued = await party.code(orders)
    const { body } = await party.request(issued)
    await party.request(issued) // The code is replayed.
    return await party.newBrowser().get(path, { authorization: `Bearer ${body.access_token}` })
  }, '401 invalid_token, challenge Bearer invalid_token']
]

export const userInfoCases = rows.map(toJsonCase)
