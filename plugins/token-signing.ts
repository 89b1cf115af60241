import { createSigner } from 'fast-jwt'
import fp from 'fastify-plugin'
import { LRUCache } from 'lru-cache'
import type { Config } from '../src/config/config.ts'
import { newId } from '../src/crypto/random.ts'
import type { LiveSession } from '../src/sessions/session.ts'
import type { Client } from '../src/clients/records.ts'
import { userInfoUrl } from '../src/delegation/endpoints.ts'
import { effectiveScopes } from '../src/delegation/scopes.ts'
import { definedRoles, scopesOf, type Roles } from '../src/syntax/roles.ts'
import type { User } from '../src/users/users.ts'
import type { ClientClaims, UserClaims } from './verifier/claims.ts'
import { firstPartyClientId } from './verifier/token-rules.ts'

/** The claims of a token that is signed. Roles are absent unless its client may see them. */
type SignedClaims = ClientClaims | (Omit<UserClaims, 'roles'> & Partial<Pick<UserClaims, 'roles'>>)

interface SignedToken {
  accessToken: string
  /** Seconds. */
  expiresIn: number
}

interface RequestedGrant { scope: string[], audience: string[] }

interface DelegatedToken extends SignedToken {
  scope: string
  /** Seconds since the epoch. */
  issuedAt: number
}

interface ClientTokenRequest { clientId: string, scope: string, audience: string | string[] }

declare module 'fastify' {
  interface FastifyInstance {
    /** Signs an access token of a first-party session. */
    signAccessToken: (session: LiveSession) => SignedToken
    /**
     * Signs an access token of a client session for resources (RFC 8707). Without a resource it is for the
     * user info endpoint alone or, if the client is the first party's, for the audience of the service. The
     * scopes that the user has no role for are left out.
     */
    signDelegatedToken: (session: LiveSession, client: Client, grant: RequestedGrant) => DelegatedToken
    /** Signs a client's own access token (RFC 6749 section 4.4). */
    signClientToken: (request: ClientTokenRequest) => SignedToken
  }
}

export interface TokenSigningOptions {
  issuer: string
  audience: string
  roles: Roles
  /** The properties of the user that access tokens also contain. */
  tokenClaims: Config['tokenClaims']
  lifetimeSeconds: number
}

const maxSigners = 10

/** Signs access tokens (RFC 9068) with the active key of their own purpose. */
export default fp(async function tokenSigning (app, options: TokenSigningOptions) {
  const { issuer, audience, roles, tokenClaims, lifetimeSeconds } = options

  // Creating a signer takes ten times as long as signing.
  const signers = new LRUCache<string, (claims: SignedClaims) => string>({ max: maxSigners })
  function sign (claims: SignedClaims): string {
    const { kid, algorithm, privateKey } = app.keyring.getSigningKey()
    const header = { alg: algorithm, typ: 'at+jwt' }
    const signer = signers.get(kid) ?? createSigner({ algorithm, key: privateKey, kid, header })
    signers.set(kid, signer)
    return signer(claims)
  }

  type SessionClaims = Omit<UserClaims, 'roles' | 'aud' | 'client_id' | 'scope'>
  function sessionClaims (session: LiveSession): SessionClaims {
    const { user, tokenVersion } = session
    const iat = toSeconds(session.now)
    return {
      iss: issuer,
      sub: user.id,
      iat,
      exp: Math.min(iat + lifetimeSeconds, toSeconds(session.expiresAt)),
      jti: newId(),
      sid: session.id,
      auth_time: toSeconds(session.authenticatedAt),
      amr: session.methods,
      ...tokenVersion > 0 && { token_version: tokenVersion }
    }
  }
  const additional = ({ user, externalId }: LiveSession) =>
    additionalClaims({ ...user, external_id: externalId }, tokenClaims)

  app.decorate('signAccessToken', session => {
    const claims = sessionClaims(session)
    const userRoles = session.user.roles
    const accessToken = sign({
      ...additional(session),
      ...claims,
      aud: audience,
      client_id: firstPartyClientId,
      scope: scopesOf(roles, userRoles).join(' '),
      roles: definedRoles(roles, userRoles)
    })
    return { accessToken, expiresIn: claims.exp - claims.iat }
  })

  app.decorate('signDelegatedToken', (session, client, requested) => {
    const { first_party: isFirstParty, permissions, client_id: clientId } = client
    const claims = sessionClaims(session)
    const userRoles = session.user.roles
    const scope = effectiveScopes(roles, userRoles, requested.scope).join(' ')
    const [first = isFirstParty ? audience : userInfoUrl(issuer), ...others] = requested.audience
    const accessToken = sign({
      ...isFirstParty && additional(session),
      ...claims,
      aud: others.length > 0 ? [first, ...others] : first,
      client_id: clientId,
      scope,
      // Roles are for the operator's own services. Another client gets them only with this permission.
      ...(isFirstParty || permissions.includes('roles')) && { roles: definedRoles(roles, userRoles) }
    })
    return { accessToken, expiresIn: claims.exp - claims.iat, issuedAt: claims.iat, scope }
  })

  app.decorate('signClientToken', ({ clientId, scope, audience: aud }) => {
    const iat = toSeconds(new Date(app.keyring.nowMs()))
    const times = { iat, exp: iat + lifetimeSeconds, jti: newId() }
    const claims = { iss: issuer, aud, sub: clientId, client_id: clientId, scope, ...times }
    return { accessToken: sign(claims), expiresIn: lifetimeSeconds }
  })
}, { name: 'token-signing', dependencies: ['keyring'] })

/** The properties of a user as claims. A property that the user does not have is no claim. */
const additionalClaims = (
  user: User & { external_id: string | null }, { names, namespace }: Config['tokenClaims']
) => Object.fromEntries(names.flatMap(name => user[name] === null ? [] : [[namespace + name, user[name]]]))

const toSeconds = (time: Date) => Math.floor(time.getTime() / 1_000)
