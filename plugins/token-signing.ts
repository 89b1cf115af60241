import { createSigner } from 'fast-jwt'
import fp from 'fastify-plugin'
import { LRUCache } from 'lru-cache'
import type { Config } from '../src/config/config.ts'
import { newId } from '../src/crypto/random.ts'
import type { LiveSession } from '../src/sessions/session.ts'
import { definedRoles, scopesOf, type Roles } from '../src/syntax/roles.ts'
import type { User } from '../src/users/users.ts'
import type { AccessTokenClaims, UserClaims } from './verifier/claims.ts'

interface SignedToken {
  accessToken: string
  /** Seconds. */
  expiresIn: number
}

interface ClientGrant { clientId: string, scope: string, audience: string | string[] }

declare module 'fastify' {
  interface FastifyInstance {
    /** Signs an access token of a session. */
    signAccessToken: (session: LiveSession) => SignedToken
    /** Signs a client's own access token (RFC 6749 section 4.4). */
    signClientToken: (grant: ClientGrant) => SignedToken
  }
}

export interface TokenSigningOptions {
  issuer: string
  audience: string
  roles: Roles
  /** The properties of the user that access tokens also contain. */
  tokenClaims: Config['tokenClaims']
  /** Seconds. */
  ttl: number
}

// The client of users who sign in to the service itself.
const firstPartyClientId = 'latchkey'
const maxSigners = 10

/** Signs access tokens (RFC 9068) with the active key of their own purpose. */
export default fp(async function tokenSigning (app, options: TokenSigningOptions) {
  const { issuer, audience, roles, tokenClaims, ttl } = options

  // Creating a signer takes ten times as long as signing.
  const signers = new LRUCache<string, (claims: AccessTokenClaims) => string>({ max: maxSigners })
  function sign (claims: AccessTokenClaims): string {
    const { kid, algorithm, privateKey } = app.keyring.getSigningKey()
    const header = { alg: algorithm, typ: 'at+jwt' }
    const signer = signers.get(kid) ?? createSigner({ algorithm, key: privateKey, kid, header })
    signers.set(kid, signer)
    return signer(claims)
  }

  app.decorate('signAccessToken', session => {
    const { user, externalId, tokenVersion } = session
    const iat = toSeconds(session.now)
    const exp = Math.min(iat + ttl, toSeconds(session.expiresAt))
    const claims: UserClaims = {
      ...additionalClaims({ ...user, external_id: externalId }, tokenClaims),
      iss: issuer,
      aud: audience,
      sub: user.id,
      client_id: firstPartyClientId,
      scope: scopesOf(roles, user.roles).join(' '),
      iat,
      exp,
      jti: newId(),
      sid: session.id,
      auth_time: toSeconds(session.authenticatedAt),
      amr: session.methods,
      roles: definedRoles(roles, user.roles),
      ...tokenVersion > 0 && { token_version: tokenVersion }
    }
    return { accessToken: sign(claims), expiresIn: exp - iat }
  })

  app.decorate('signClientToken', ({ clientId, scope, audience: aud }) => {
    const iat = toSeconds(new Date(app.keyring.nowMs()))
    const times = { iat, exp: iat + ttl, jti: newId() }
    const claims = { iss: issuer, aud, sub: clientId, client_id: clientId, scope, ...times }
    return { accessToken: sign(claims), expiresIn: ttl }
  })
}, { name: 'token-signing', dependencies: ['keyring'] })

/** The properties of a user as claims. A property that the user does not have is no claim. */
const additionalClaims = (
  user: User & { external_id: string | null }, { names, namespace }: Config['tokenClaims']
) => Object.fromEntries(names.flatMap(name => user[name] === null ? [] : [[namespace + name, user[name]]]))

const toSeconds = (time: Date) => Math.floor(time.getTime() / 1_000)
