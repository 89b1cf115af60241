import { authorizationOf } from '../delegation.ts'
import type { Case, Difference, World } from './case.ts'
import { signOutOutcome } from './outcomes.ts'
import { encode, type Parameters } from './parties.ts'

interface SignOutVariation {
  /** Whether a user is signed in in the browser that signs out. */
  signedIn?: boolean
  /** Parameters that are sent once more. */
  added?: Parameters
  method?: 'get' | 'post'
  difference?: Difference
}
/** The parameters of a request, given the ID token of the user. */
type Change = (hint: string, world: World) => Parameters
type SignOutRow = [name: string, change: Change, expected: string, options?: SignOutVariation]

const form = { 'content-type': 'application/x-www-form-urlencoded' }
const path = '/oauth/logout'
const uri = 'https://orders.example.com/signed-out'

const toCase = ([name, change, expected, { difference, ...options } = {}]: SignOutRow): Case => ({
  name,
  expected,
  ...difference && { difference },
  run: async world => {
    const { party, orders } = world
    const { signedIn = true, added, method = 'get' } = options
    const signed = party.newBrowser()
    const { body } = await party.tokens(orders, {}, signed)
    const browser = signedIn ? signed : party.newBrowser()
    const query = [encode(change(body.id_token, world)), ...added ? [encode(added)] : []].join('&')
    let first = method === 'get'
      ? await browser.get(`${path}?${query}`)
      : await browser.post(path, query, form)
    const location = String(first.headers['location'] ?? '')
    if (location.startsWith(path)) first = await browser.get(location)
    const outcome = signOutOutcome(await party.endSignOut(browser, first), party.issuer)
    const { url } = authorizationOf(orders, { prompt: 'none' })
    const { headers } = await signed.get(url)
    const isSignedIn = new URL(String(headers['location'])).searchParams.has('code')
    return `${outcome}, ${isSignedIn ? 'signed in' : 'signed out'}`
  }
})

const proven = (ours: string) => ({
  ours,
  because: 'the question is only needed without a hint of this session (RP-Initiated Logout section 2)'
})
const unusable = (ours: string) => ({
  ours, because: 'what is not valid is not used, and the user can sign out (RP-Initiated Logout section 4)'
})
const needsHint = {
  ours: 'asks, stays, signed out',
  because: 'without a hint, nothing shows that the client sent the browser (RP-Initiated Logout section 3)'
}

const rows: SignOutRow[] = [
  ['an ID token', hint => ({ id_token_hint: hint }),
    'asks, stays, signed out', { difference: proven('stays, signed out') }],
  ['an ID token and a URI', hint => ({ id_token_hint: hint, post_logout_redirect_uri: uri }),
    `asks, ${uri}, signed out`, { difference: proven(`${uri}, signed out`) }],
  ['an ID token, a URI and a state',
    hint => ({ id_token_hint: hint, post_logout_redirect_uri: uri, state: 'a b&c' }),
    `asks, ${uri}?state=a+b%26c, signed out`, { difference: proven(`${uri}?state=a+b%26c, signed out`) }],
  ['an ID token, a URI and an empty state',
    hint => ({ id_token_hint: hint, post_logout_redirect_uri: uri, state: '' }),
    `asks, ${uri}, signed out`, { difference: proven(`${uri}, signed out`) }],
  ['an ID token and a state', hint => ({ id_token_hint: hint, state: 'abc' }),
    'asks, stays, signed out', { difference: proven('stays, signed out') }],
  ['the same in a form',
    hint => ({ id_token_hint: hint, post_logout_redirect_uri: uri, state: 'abc' }),
    `asks, ${uri}?state=abc, signed out`,
    { difference: proven(`${uri}?state=abc, signed out`), method: 'post' }],
  ['an ID token, a URI and the client', (hint, { orders }) =>
    ({ id_token_hint: hint, post_logout_redirect_uri: uri, client_id: orders.id }),
    `asks, ${uri}, signed out`, { difference: proven(`${uri}, signed out`) }],
  ['an ID token, a URI and another client', (hint, { reports }) =>
    ({ id_token_hint: hint, post_logout_redirect_uri: uri, client_id: reports.id }),
  'page 4xx, signed in', { difference: unusable('asks, stays, signed out') }],
  ['an ID token and an unregistered URI',
    hint => ({ id_token_hint: hint, post_logout_redirect_uri: `${uri}/x` }),
    'page 4xx, signed in', { difference: unusable('stays, signed out') }],
  ['an ID token and a malformed URI',
    hint => ({ id_token_hint: hint, post_logout_redirect_uri: 'javascript:alert(1)' }),
    'page 4xx, signed in', { difference: unusable('stays, signed out') }],
  ['an ID token and an empty URI', hint => ({ id_token_hint: hint, post_logout_redirect_uri: '' }),
    'asks, stays, signed out', { difference: proven('stays, signed out') }],
  ['no parameters', () => ({}), 'asks, stays, signed out'],
  ['a URI without an ID token', () => ({ post_logout_redirect_uri: uri }), 'asks, stays, signed out'],
  ['a URI and the client', (_hint, { orders }) =>
    ({ post_logout_redirect_uri: uri, client_id: orders.id }),
    `asks, ${uri}, signed out`, { difference: needsHint }],
  ['an unregistered URI and the client', (_hint, { orders }) =>
    ({ post_logout_redirect_uri: `${uri}/x`, client_id: orders.id }),
  'page 4xx, signed in', { difference: unusable('asks, stays, signed out') }],
  ['an unknown client', () => ({ client_id: 'unknown' }),
    'page 4xx, signed in', { difference: unusable('asks, stays, signed out') }],
  ['a hint that is no JWT', () => ({ id_token_hint: 'hint', post_logout_redirect_uri: uri }),
    'page 4xx, signed in', { difference: unusable('asks, stays, signed out') }],
  ['a hint with another signature',
    hint => ({ id_token_hint: `${hint.slice(0, -8)}AAAAAAAA`, post_logout_redirect_uri: uri }),
    'page 4xx, signed in', { difference: unusable('asks, stays, signed out') }],
  ['a repeated hint', hint => ({ id_token_hint: hint, post_logout_redirect_uri: uri }),
    'page 4xx, signed in',
    { difference: unusable('asks, stays, signed out'), added: { id_token_hint: 'hint' } }],
  ['a repeated URI', hint => ({ id_token_hint: hint, post_logout_redirect_uri: uri }),
    'page 4xx, signed in',
    { difference: unusable('stays, signed out'), added: { post_logout_redirect_uri: uri } }],
  ['a repeated state', hint => ({ id_token_hint: hint, post_logout_redirect_uri: uri, state: 'a' }),
    'page 4xx, signed in', { difference: unusable(`${uri}, signed out`), added: { state: 'b' } }],
  ['an ID token and a URI, if nobody is signed in',
    hint => ({ id_token_hint: hint, post_logout_redirect_uri: uri, state: 'abc' }),
    `${uri}?state=abc, signed in`, { signedIn: false }],
  ['no parameters, if nobody is signed in', () => ({}), 'stays, signed in', { signedIn: false }]
]

export const signOutCases = rows.map(toCase)
