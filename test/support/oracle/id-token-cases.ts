import { claimsOf } from '../jwt.ts'
import type { Case } from './case.ts'
import { idTokenOutcome } from './outcomes.ts'

const moreClaims = (ours: string) => ({ ours, because: 'optional claims (OpenID Connect Core section 2)' })
const refreshedNonce = {
  ours: 'amr at_hash aud auth_time exp iat iss sid sub',
  because: 'a refreshed ID token should not have a nonce (OpenID Connect Core section 12.2)'
}

/** What an ID token says. */
export const idTokenCases: Case[] = [
  {
    name: 'the ID token of a code',
    run: async ({ party, orders }) => idTokenOutcome(await party.tokens(orders), party.issuer, orders),
    expected: 'aud exp iat iss nonce sub',
    difference: moreClaims('amr at_hash aud auth_time exp iat iss nonce sid sub')
  },
  {
    name: 'the ID token of a request with max_age',
    run: async ({ party, orders }) =>
      idTokenOutcome(await party.tokens(orders, { max_age: '3600' }), party.issuer, orders),
    expected: 'aud auth_time exp iat iss nonce sub',
    difference: moreClaims('amr at_hash aud auth_time exp iat iss nonce sid sub')
  },
  {
    name: 'the ID token of a request without a nonce',
    run: async ({ party, orders }) =>
      idTokenOutcome(await party.tokens(orders, { nonce: undefined }), party.issuer, orders),
    expected: 'aud exp iat iss sub',
    difference: moreClaims('amr at_hash aud auth_time exp iat iss sid sub')
  },
  {
    name: 'the ID token of a refresh',
    run: async ({ party, orders }) =>
      idTokenOutcome(await party.request(await party.refreshable(orders)), party.issuer, orders),
    expected: 'aud exp iat iss nonce sub',
    difference: refreshedNonce
  },
  {
    name: 'the subject, session and time of a refreshed ID token',
    run: async ({ party, orders }) => {
      const { body } = await party.tokens(orders, { max_age: '3600' })
      const parameters = { grant_type: 'refresh_token', refresh_token: body.refresh_token }
      const refreshed = await party.request({ client: orders, parameters })
      const [before, after] = [claimsOf(body.id_token), claimsOf(refreshed.body.id_token)]
      return ['sub', 'sid', 'auth_time']
        .map(name => `${name} ${before[name] === after[name] ? 'kept' : 'changed'}`).join(', ')
    },
    expected: 'sub kept, sid kept, auth_time kept'
  }
]
