import type { Test } from 'tap'
import { build, newUser } from '../support/app.ts'
import { mapConcurrently } from '../support/concurrency.ts'
import { newClient } from '../support/delegation.ts'
import { authorizationCases } from '../support/oracle/authorization-cases.ts'
import type { Case, World } from '../support/oracle/case.ts'
import { clientAuthenticationCases } from '../support/oracle/client-authentication-cases.ts'
import { idTokenCases } from '../support/oracle/id-token-cases.ts'
import { startOracle } from '../support/oracle/oracle.ts'
import { Latchkey, Oracle, type RegisteredClient } from '../support/oracle/parties.ts'
import { signInCases } from '../support/oracle/sign-in-cases.ts'
import { signOutCases } from '../support/oracle/sign-out-cases.ts'
import { tokenCases } from '../support/oracle/token-cases.ts'
import { userInfoCases } from '../support/oracle/user-info-cases.ts'
import { t } from '../support/test.ts'

// oidc-provider is a certified implementation. Clients of it and of the service send the same requests here,
// and see the same, but for the differences that the tables explain.

// The reuse of a superseded token counts at once.
const service = await build(t, { REFRESH_REPLAY_GRACE: '0s' })

const resource = 'https://api.example.com'
const web = {
  redirect_uris: ['https://orders.example.com/callback', 'https://orders.example.com/other?from=login'],
  post_logout_redirect_uris: ['https://orders.example.com/signed-out']
}
const native = {
  application_type: 'native',
  token_endpoint_auth_method: 'none',
  redirect_uris: ['http://127.0.0.1/callback', 'com.example.app:/callback'],
  post_logout_redirect_uris: ['http://127.0.0.1/signed-out']
} as const
const metadata = {
  orders: { ...web, token_endpoint_auth_method: 'client_secret_basic' },
  reports: { ...web, token_endpoint_auth_method: 'client_secret_post' },
  phone: native
} as const

/** Registers a client at the service, and describes it to the oracle with the same id and secret. */
async function register (
  name: keyof typeof metadata
): Promise<{ client: RegisteredClient, described: object }> {
  const client = await newClient(service, { name, audiences: [resource], ...metadata[name] })
  const described = {
    client_id: client.id,
    ...client.secret !== undefined && { client_secret: client.secret },
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    scope: 'openid profile email',
    ...metadata[name]
  }
  return { client: { ...client, authMethod: metadata[name].token_endpoint_auth_method }, described }
}

async function newAccount () {
  const user = newUser()
  const { body } = await service.browser().post('/v1/auth/register', user)
  return { id: String(body.user.id), ...user }
}

const registered = {
  orders: await register('orders'), reports: await register('reports'), phone: await register('phone')
}
const account = await newAccount()
const otherAccount = await newAccount()
const issuer = await startOracle(t, {
  clients: Object.values(registered).map(({ described }) => described),
  users: new Map([account, otherAccount].map(({ id, email }) =>
    [id, { email, email_verified: false, updated_at: 1_795_338_000 }])),
  resource
})
const clients = {
  orders: registered.orders.client, reports: registered.reports.client, phone: registered.phone.client
}
const worlds: World[] = [new Latchkey(service, account), new Oracle(issuer, account)].map(party =>
  ({ party, ...clients, otherAccount, resource }))

/** Compares what a client sees. Cases that leave no traces for others can run at the same time. */
async function compare (t: Test, cases: Case[], { concurrency = 1 } = {}) {
  const outcomes = await mapConcurrently(cases, concurrency, async ({ run }) => {
    const [ours, theirs] = await Promise.all(worlds.map(run))
    return { ours, theirs }
  })
  for (const [index, { name, expected, difference }] of cases.entries()) {
    const reason = difference ? ` (${difference.because})` : ''
    t.strictSame(outcomes[index], { ours: difference?.ours ?? expected, theirs: expected }, name + reason)
  }
}

t.test('an authorization request leads to the same', async t => {
  await compare(t, authorizationCases, { concurrency: 4 })
})
t.test('a sign-in is required alike', t => compare(t, signInCases))
t.test('a client authenticates alike', t => compare(t, clientAuthenticationCases))
t.test('a token request is answered alike', t => compare(t, tokenCases))
t.test('an ID token says the same', t => compare(t, idTokenCases))
t.test('a request for user info is answered alike', t => compare(t, userInfoCases))
t.test('a sign-out for a client ends alike', async t => {
  await compare(t, signOutCases, { concurrency: 4 })
})
