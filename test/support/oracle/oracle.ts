import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { errors, interactionPolicy, Provider } from 'oidc-provider'
import type { Teardown } from '../teardown.ts'

export interface OracleOptions {
  /** Client metadata (RFC 7591). */
  clients: object[]
  /** The claims of each user. */
  users: ReadonlyMap<string, object>
  /** The only resource that clients may request (RFC 8707). */
  resource: string
}

/** Starts oidc-provider on loopback, with the paths of our endpoints. Returns its issuer. */
export async function startOracle (t: Teardown, options: OracleOptions): Promise<string> {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.close()
    server.closeAllConnections()
  })
  const address = server.address()
  assert(typeof address === 'object' && address)
  const issuer = `http://127.0.0.1:${address.port}`
  const provider = withoutWarnings(() => new Provider(issuer, configurationOf(options)))
  provider.on('server_error', (_context, error) => { console.error(error) })
  const answer = provider.callback()
  server.on('request', (request: IncomingMessage, response: ServerResponse) => {
    const url = new URL(request.url ?? '', issuer)
    const answering = url.pathname.startsWith('/interaction/')
      ? interact(provider, { request, response, userId: url.searchParams.get('user') })
      : answer(request, response)
    answering.catch((error: unknown) => response.writeHead(500).end(String(error)))
  })
  return issuer
}

/** It warns that it keeps everything in memory, which is right in a test. */
function withoutWarnings<Value> (make: () => Value): Value {
  const { warn } = console
  console.warn = () => {}
  try {
    return make()
  } finally {
    console.warn = warn
  }
}

function configurationOf ({ clients, users, resource: known }: OracleOptions) {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2_048 })
  const policy = interactionPolicy.base()
  for (const name of ['select_account', 'create']) {
    policy.add(new interactionPolicy.Prompt({ name, requestable: true }), 0)
  }
  const lifetime = () => 900
  return {
    clients,
    jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), use: 'sig', alg: 'RS256' }] },
    // A form of another site brings no cookie that is Lax.
    enableHttpPostMethods: true,
    cookies: { keys: ['a key of the tests'], long: { httpOnly: true, sameSite: 'none', signed: true } },
    findAccount: (_context: unknown, id: string) =>
      users.has(id) ? { accountId: id, claims: () => ({ sub: id, ...users.get(id) }) } : undefined,
    claims: { profile: ['name', 'updated_at'], email: ['email', 'email_verified'] },
    responseTypes: ['code'],
    pkce: { required: () => true },
    interactions: {
      policy,
      url: (_context: unknown, { uid, prompt }: { uid: string, prompt: { name: string } }) =>
        `/interaction/${prompt.name}/${uid}`
    },
    // As ours: a client with the grant always has a refresh token, which is good once.
    issueRefreshToken: (_context: unknown, client: { grantTypeAllowed: (grant: string) => boolean }) =>
      client.grantTypeAllowed('refresh_token'),
    rotateRefreshToken: true,
    features: {
      devInteractions: { enabled: false },
      backchannelLogout: { enabled: true },
      clientCredentials: { enabled: true },
      pushedAuthorizationRequests: { enabled: false },
      rpInitiatedLogout: {
        enabled: true,
        logoutSource: (context: { body: string }, form: string) => { context.body = form },
        postLogoutSuccessSource: (context: { body: string }) => { context.body = 'signed out' }
      },
      resourceIndicators: {
        enabled: true,
        useGrantedResource: () => true,
        getResourceServerInfo: (_context: unknown, resource: string) => {
          if (resource !== known) throw new errors.InvalidTarget()
          return { scope: '', accessTokenFormat: 'opaque' }
        }
      }
    },
    renderError: (context: { type: string, body: string }, { error }: { error: string }) => {
      Object.assign(context, { type: 'html', body: error })
    },
    routes: {
      authorization: '/oauth/authorize',
      token: '/oauth/token',
      userinfo: '/oauth/userinfo',
      end_session: '/oauth/logout'
    },
    ttl: Object.fromEntries(
      ['AccessToken', 'ClientCredentials', 'IdToken', 'RefreshToken', 'Session', 'Grant', 'Interaction']
        .map(name => [name, lifetime]))
  }
}

interface InteractionVisit { request: IncomingMessage, response: ServerResponse, userId: string | null }

/** Does what a person would do on the page of an interaction: signs the user in, or gives consent. */
async function interact (provider: Provider, { request, response, userId }: InteractionVisit) {
  const { prompt, params, session, grantId } = await provider.interactionDetails(request, response)
  if (prompt.name !== 'consent') {
    const login = { accountId: userId, amr: ['pwd'] }
    await provider.interactionFinished(request, response, { [prompt.name]: {}, login })
    return
  }
  const grant = (grantId === undefined ? undefined : await provider.Grant.find(grantId)) ??
    new provider.Grant({ accountId: session?.accountId, clientId: params.client_id })
  const { missingOIDCScope = [], missingResourceScopes = {} } = prompt.details
  grant.addOIDCScope(missingOIDCScope.join(' '))
  for (const [resource, scopes] of Object.entries(missingResourceScopes)) {
    grant.addResourceScope(resource, scopes.join(' '))
  }
  await provider.interactionFinished(request, response, { consent: { grantId: await grant.save() } })
}
