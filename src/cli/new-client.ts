import type { CreatedClient } from '../clients/clients.ts'
import { grantTypes, withDefaults, type GrantType, type NewClient } from '../clients/metadata.ts'
import type { Config } from '../config/config.ts'
import { Problem } from '../http/problem.ts'
import { scopeSyntax } from '../syntax/scope.ts'
import { defineCommand, UsageError } from './command.ts'
import { withDatabase } from './database.ts'

const maxScopes = 50
const maxUris = 20

const many = (value: string, description: string) =>
  ({ type: 'string', multiple: true, value, description }) as const

export const create = defineCommand({
  usage: 'latchkey clients create --name NAME [--redirect-uri URI...] [--scope SCOPE...] [options] [--json]',
  description: 'Register an application that users sign in to, or a service that gets its own tokens.' +
    ' The secret is shown only once.',
  example: 'latchkey clients create --name Shop --redirect-uri https://shop.example.com/callback',
  options: {
    name: { type: 'string', value: 'NAME', description: 'its name, 1 to 100 characters' },
    'redirect-uri': many(
      'URI', 'a URI to which users may come back after the sign-in; repeat it for several'
    ),
    'post-logout-redirect-uri': many(
      'URI', 'a URI to which users may be sent after the sign-out; repeat it for several'
    ),
    public: {
      type: 'boolean',
      description: 'a client that cannot keep a secret, such as a page or a program on a device; it gets none'
    },
    native: { type: 'boolean', description: 'a client that runs on the user\'s own device (RFC 8252)' },
    'first-party': { type: 'boolean', description: 'your own team runs it: users are not asked for consent' },
    grant: many('GRANT', 'client_credentials, authorization_code, refresh_token; the default follows from' +
      ' --redirect-uri'),
    scope: many('SCOPE', 'scopes that it can request; repeat it, or separate them with commas; with' +
      ' --redirect-uri, the default is openid,profile,email'),
    audience: many('URI', 'a service that it may request tokens of users for; repeat it for several'),
    'userinfo-in-id-token': {
      type: 'boolean',
      description: 'its ID tokens contain the claims of userinfo, for a library that reads only the ID token'
    },
    'backchannel-logout-uri': {
      type: 'string', value: 'URI', description: 'the URL that is notified when a user\'s session ends'
    }
  },
  plan: values => {
    const newClient = readClient(values)
    return async config => {
      const client = await withDatabase(config, async db => {
        const clients = await import('../clients/clients.ts')
        await assertValid(newClient, config)
        return await clients.create(db, newClient, {})
      })
      const { present } = await import('../clients/records.ts')
      return { text: describe(client), data: present(client) }
    }
  }
})

interface CreateOptions {
  name?: string
  'redirect-uri'?: string[]
  'post-logout-redirect-uri'?: string[]
  public?: boolean
  native?: boolean
  'first-party'?: boolean
  'userinfo-in-id-token'?: boolean
  grant?: string[]
  scope?: string[]
  audience?: string[]
  'backchannel-logout-uri'?: string
}

/** The client that the options describe. What depends on the configuration is checked later. */
function readClient (options: CreateOptions): NewClient {
  const { name = '', grant = [], scope = [], audience = [] } = options
  const { native = false, public: isPublic = false } = options
  const { 'redirect-uri': redirectUris = [], 'post-logout-redirect-uri': postLogoutUris = [] } = options
  const { 'first-party': firstParty = false, 'userinfo-in-id-token': hasUserInfo = false } = options
  const { 'backchannel-logout-uri': backchannelUri } = options
  if (!/^[^\p{Cc}\p{Cs}]{1,100}$/u.test(name)) {
    throw new UsageError('--name must have 1 to 100 characters, and no control characters.')
  }
  if (Math.max(redirectUris.length, postLogoutUris.length, audience.length) > maxUris) {
    throw new UsageError(`An option can be given at most ${maxUris} times.`)
  }
  const grants = readGrants(grant)
  const scopes = readScopes(scope, redirectUris.length === 0)
  return {
    name,
    application_type: native ? 'native' : 'web',
    ...grants.length > 0 && { grant_types: grants },
    redirect_uris: redirectUris,
    post_logout_redirect_uris: postLogoutUris,
    ...isPublic && { token_endpoint_auth_method: 'none' },
    ...backchannelUri !== undefined && { backchannel_logout_uri: backchannelUri },
    userinfo_in_id_token: hasUserInfo,
    first_party: firstParty,
    audiences: audience,
    ...scopes.length > 0 && { scopes }
  }
}

const splitLists = (lists: string[]) =>
  lists.flatMap(list => list.split(/[\s,]+/)).filter(item => item !== '')

const readGrants = (lists: string[]): GrantType[] => splitLists(lists).map(item => {
  const grant = grantTypes.find(each => each === item)
  if (grant === undefined) throw new UsageError(`--grant must be one of ${grantTypes.join(', ')}.`)
  return grant
})

function readScopes (lists: string[], isRequired: boolean): string[] {
  const scopes = splitLists(lists)
  if (isRequired && scopes.length === 0) {
    throw new UsageError('--scope must name a scope, unless --redirect-uri is given.')
  }
  if (scopes.length > maxScopes) throw new UsageError(`--scope must name at most ${maxScopes} scopes.`)
  const malformed = scopes.find(each => !scopeSyntax.test(each))
  if (malformed !== undefined) {
    throw new UsageError(`"${malformed}" is not a scope (RFC 6749 appendix A.4).`)
  }
  return scopes
}

/** Throws a UsageError if the configuration does not allow the client. */
async function assertValid (newClient: NewClient, config: Config): Promise<void> {
  const [{ assertValidNew }, { createDestination }] = await Promise.all([
    import('../clients/validation.ts'), import('../webhooks/destination.ts')
  ])
  const { issuer, audience, clients, signing, webhooks: { privateNetworks } } = config
  try {
    assertValidNew(withDefaults(newClient), {
      issuer,
      audience,
      ...clients,
      signingAlgorithm: signing.algorithm,
      destinationRefusal: createDestination({ privateNetworks, requiresHttps: true }).refusal
    })
  } catch (error) {
    throw error instanceof Problem ? new UsageError(`The client is not valid: ${error.message}`) : error
  }
}

function describe ({ client_id: id, client_secret: secret }: CreatedClient): string {
  const lines = secret === undefined
    ? [`Client id:      ${id}`, 'The client is public: it has no secret.']
    : [`Client id:      ${id}`, `Client secret:  ${secret}`, 'The secret is not shown again.']
  return lines.join('\n')
}
