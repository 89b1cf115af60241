import { toAuthorizationCase, type AuthorizationRow } from './authorization-case.ts'
import type { World } from './case.ts'
import type { Parameters } from './parties.ts'

const digits = {
  ours: 'invalid_request',
  because: 'a number of seconds is written in digits (OpenID Connect Core section 3.1.2.1)'
}
const ignoredHint = {
  ours: 'code',
  because: 'a hint that cannot be used, such as one whose key was dropped, does not stop the sign-in' +
    ' (OpenID Connect Core section 3.1.2.1)'
}
const unreadHint = {
  ours: 'login_required',
  because: 'this is the code if the expected user is not signed in (OpenID Connect Core section 3.1.2.1)'
}

const hintOf = (name: 'orders' | 'reports') => async (world: World): Promise<Parameters> =>
  ({ id_token_hint: (await world.party.tokens(world[name])).body.id_token })
const hintOfOtherUser = async ({ party, orders, otherAccount }: World): Promise<Parameters> => {
  const browser = await party.newSignedInBrowser(orders, otherAccount)
  return { id_token_hint: (await party.tokens(orders, {}, browser)).body.id_token }
}
const forged = 'eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbnlib2R5In0.'
const changed = async (world: World): Promise<Parameters> => {
  const { id_token_hint: hint = '' } = await hintOf('orders')(world)
  return { id_token_hint: `${hint.slice(0, -8)}AAAAAAAA` }
}

const rows: AuthorizationRow[] = [
  ['an empty prompt', { prompt: '' }, 'code', { signedIn: true }],
  ['prompt none before the sign-in', { prompt: 'none' }, 'login_required'],
  ['prompt none', { prompt: 'none' }, 'code', { signedIn: true }],
  ['prompt login', { prompt: 'login' }, 'page: login', { signedIn: true }],
  ['prompt consent', { prompt: 'consent' }, 'page: consent', { signedIn: true }],
  ['prompt consent before the sign-in', { prompt: 'consent' }, 'page: login'],
  ['prompt select_account', { prompt: 'select_account' }, 'page: login', { signedIn: true }],
  ['prompt create', { prompt: 'create' }, 'page: create'],
  ['prompt create of a user who has signed in', { prompt: 'create' }, 'page: create', { signedIn: true }],
  ['prompts login and consent', { prompt: 'login consent' }, 'page: login', { signedIn: true }],
  ['prompts none and login', { prompt: 'none login' }, 'invalid_request', { signedIn: true }],
  ['an unknown prompt', { prompt: 'sometimes' }, 'invalid_request', { signedIn: true }],
  ['a prompt in upper case', { prompt: 'LOGIN' }, 'invalid_request', { signedIn: true }],
  ['a repeated prompt', { prompt: 'none' }, 'invalid_request', { signedIn: true, added: { prompt: 'none' } }],

  ['max_age', { max_age: '3600' }, 'code', { signedIn: true }],
  ['max_age 0', { max_age: '0' }, 'page: login', { signedIn: true }],
  ['max_age 0 and prompt none', { max_age: '0', prompt: 'none' }, 'login_required', { signedIn: true }],
  ['an empty max_age', { max_age: '' }, 'code', { signedIn: true }],
  ['a negative max_age', { max_age: '-1' }, 'invalid_request', { signedIn: true }],
  ['a max_age that is no number', { max_age: 'day' }, 'invalid_request', { signedIn: true }],
  ['a max_age with a fraction', { max_age: '1.5' }, 'invalid_request', { signedIn: true }],
  ['a max_age with an exponent', { max_age: '1e3' }, 'code', { difference: digits, signedIn: true }],
  ['an enormous max_age', { max_age: '9'.repeat(30) }, 'invalid_request', { signedIn: true }],
  ['a max_age of 10 digits', { max_age: '9999999999' }, 'code', { signedIn: true }],
  ['a repeated max_age', { max_age: '10' }, 'invalid_request', { signedIn: true, added: { max_age: '10' } }],

  ['the id_token_hint of the user', hintOf('orders'), 'code', { signedIn: true }],
  ['the id_token_hint of the user, without a page',
    async world => ({ ...await hintOf('orders')(world), prompt: 'none' }), 'code', { signedIn: true }],
  ['an id_token_hint before the sign-in', hintOf('orders'), 'page: login'],
  ['the id_token_hint of another user', hintOfOtherUser, 'page: login', { signedIn: true }],
  ['the id_token_hint of another user, without a page',
    async world => ({ ...await hintOfOtherUser(world), prompt: 'none' }),
    'login_required', { signedIn: true }],
  ['the id_token_hint of another client', hintOf('reports'),
    'invalid_request', { difference: ignoredHint, signedIn: true }],
  ['the id_token_hint of another client, without a page',
    async world => ({ ...await hintOf('reports')(world), prompt: 'none' }),
    'invalid_request', { difference: unreadHint, signedIn: true }],
  ['an empty id_token_hint', { id_token_hint: '' }, 'code', { signedIn: true }],
  ['an id_token_hint that is no JWT', { id_token_hint: 'hint' },
    'invalid_request', { difference: ignoredHint, signedIn: true }],
  ['an id_token_hint without a signature', { id_token_hint: forged },
    'invalid_request', { difference: ignoredHint, signedIn: true }],
  ['an id_token_hint with another signature', changed,
    'invalid_request', { difference: ignoredHint, signedIn: true }],
  ['an id_token_hint with another signature, without a page',
    async world => ({ ...await changed(world), prompt: 'none' }),
    'invalid_request', { difference: unreadHint, signedIn: true }],
  ['a repeated id_token_hint', { id_token_hint: forged },
    'invalid_request', { added: { id_token_hint: forged } }],
  ['a login_hint', { login_hint: 'ada@example.com' }, 'page: login'],
  ['a repeated login_hint', { login_hint: 'ada' }, 'invalid_request', { added: { login_hint: 'ada' } }]
]

export const signInCases = rows.map(toAuthorizationCase)
