import jwt from '@fastify/jwt'
import { createSigner } from 'fast-jwt'
import type { FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { LRUCache } from 'lru-cache'
import { validate as isUuid } from 'uuid'
import type { AccessTokenClaims, UserClaims } from '../src/tokens/claims.ts'
import type { SigningKey } from '../src/tokens/keyring.ts'
import { forbidden, invalidToken, Problem } from '../src/http/problem.ts'
import { newId } from '../src/crypto/random.ts'
import { definedRoles, meetsRequirement, scopesOf, type AccessRequirement, type Roles } from '../src/syntax/roles.ts'
import type { LiveSession } from '../src/sessions/session.ts'

declare module '@fastify/jwt' {
  interface FastifyJWT { payload: AccessTokenClaims, user: AccessTokenClaims }
}

interface Signed {
  accessToken: string
  /** Seconds that it lives. */
  expiresIn: number
}

type Hook = (request: FastifyRequest) => Promise<void>

declare module 'fastify' {
  interface FastifyInstance {
    /** An access token for a session. */
    signAccessToken: (session: LiveSession) => Signed
    /** An access token for a client of its own, for this audience. */
    signClientToken: (client: { clientId: string, scope: string, audience: string | string[] }) => Signed
    /** The claims of a token of this service that is good, for whatever audience; throws `invalid_token`. */
    verifyAccessToken: (request: FastifyRequest, token: string) => Promise<AccessTokenClaims>
    /** The claims of the request's bearer token, for this service; throws `invalid_token`. */
    verifyBearer: (request: FastifyRequest) => Promise<AccessTokenClaims>
    /** A hook that sets `request.bearer`; throws `invalid_token`, and `forbidden` for a client's own token and for one that has none of the roles, or not all of the scopes. */
    requireUser: (demand?: AccessRequirement) => Hook
  }
  interface FastifyRequest {
    bearer: UserClaims
    presentedToken: string
  }
}

export interface AccessTokenPluginOptions {
  issuer: string
  audience: string
  roles: Roles
  /** Seconds. */
  ttl: number
}

// What users sign in with: the service itself.
const firstParty = 'latchkey'
const algorithms = ['ES256', 'EdDSA', 'RS256'] as const
const required = ['iss', 'aud', 'sub', 'client_id', 'iat', 'exp', 'jti', 'scope']
// Seconds.
const tolerance = 5
// Far more than our own have.
const longest = 8_192

/** Signs and verifies access tokens (RFC 9068). */
export default fp(async function accessToken (app, { issuer, audience, roles, ttl }: AccessTokenPluginOptions) {
  interface Decoded { header: { alg?: unknown, kid?: unknown, typ?: unknown } }

  // The key is one of our own by its id, and the algorithm is the key's: nothing else in the header is believed.
  async function publicKey (_request: FastifyRequest, token: unknown): Promise<string> {
    const { alg, kid, typ } = (token as Decoded).header
    if (typeof kid !== 'string' || typ !== 'at+jwt' || !algorithms.some(known => known === alg)) throw invalidToken(true, 'a header of another kind')
    const key = await app.keyring.verifier(kid)
    if (!key || key.algorithm !== alg) throw invalidToken(true, 'an unknown key')
    return key.publicKey
  }

  await app.register(jwt, {
    secret: { private: '', public: publicKey },
    decode: { complete: true },
    verify: {
      algorithms: [...algorithms],
      allowedIss: issuer,
      checkTyp: 'at+jwt',
      requiredClaims: required,
      clockTolerance: tolerance * 1_000,
      errorCacheTTL: 0,
      extractToken: request => request.presentedToken
    }
  })
  app.decorateRequest('presentedToken', '')

  // Making a signer costs ten times as much as signing.
  const signers = new LRUCache<string, (claims: AccessTokenClaims) => string>({ max: 10 })
  function sign (claims: AccessTokenClaims): string {
    const { kid, algorithm, privateKey }: SigningKey = app.keyring.signer()
    const signer = signers.get(kid) ?? createSigner({ algorithm, key: privateKey, kid, header: { alg: algorithm, typ: 'at+jwt' } })
    signers.set(kid, signer)
    return signer(claims)
  }

  app.decorate('signAccessToken', ({ id, user, tokenVersion, methods, authenticatedAt, expiresAt, now }: LiveSession) => {
    const iat = Math.floor(now.getTime() / 1000)
    const exp = Math.min(iat + ttl, Math.floor(expiresAt.getTime() / 1000))
    const claims: UserClaims = {
      iss: issuer,
      aud: audience,
      sub: user.id,
      client_id: firstParty,
      scope: scopesOf(roles, user.roles).join(' '),
      iat,
      exp,
      jti: newId(),
      sid: id,
      auth_time: Math.floor(authenticatedAt.getTime() / 1000),
      amr: methods,
      roles: definedRoles(roles, user.roles),
      ...tokenVersion > 0 && { token_version: tokenVersion }
    }
    return { accessToken: sign(claims), expiresIn: exp - iat }
  })

  app.decorate('signClientToken', ({ clientId, scope, audience }: { clientId: string, scope: string, audience: string | string[] }) => {
    const iat = Math.floor(Date.now() / 1000)
    return { accessToken: sign({ iss: issuer, aud: audience, sub: clientId, client_id: clientId, scope, iat, exp: iat + ttl, jti: newId() }), expiresIn: ttl }
  })

  // What was verified stays so until it expires or its key is gone; that its session has ended is asked each time.
  const verified = new LRUCache<string, { claims: AccessTokenClaims, kid: string }>({ max: 10_000 })

  app.decorate('verifyAccessToken', async (request: FastifyRequest, token: string) => {
    const { claims, kid } = verified.get(token) ?? await verify(request, token)
    if (!app.keyring.isKnown(kid)) throw invalidToken(true, 'the key is gone')
    if (claims.exp + tolerance < Date.now() / 1000) throw invalidToken(true, 'expired')
    if (app.revocations.has(claims)) throw invalidToken(true, 'the session has ended, or the token')
    return claims
  })

  async function verify (request: FastifyRequest, token: string) {
    if (token.length > longest) throw invalidToken(true, 'too long')
    // The last character of a signature has bits to spare: of the spellings of a token only its own is one.
    const signature = token.slice(token.lastIndexOf('.') + 1)
    if (Buffer.from(signature, 'base64url').toString('base64url') !== signature) throw invalidToken(true, 'a signature that is not canonical')
    request.presentedToken = token
    let claims: AccessTokenClaims
    try {
      claims = await request.jwtVerify<AccessTokenClaims>()
    } catch (error) {
      if (error instanceof Problem) throw error
      throw invalidToken(true, error instanceof Error ? error.message : error)
    }
    if (typeof claims.iat !== 'number' || claims.iat > Date.now() / 1000 + 60) throw invalidToken(true, 'issued in the future')
    if (claims.sid === undefined ? claims.sub !== claims.client_id : !isUuid(claims.sid)) throw invalidToken(true, 'neither of a session nor of a client')
    const found = { claims, kid: app.jwt.decode<{ header: { kid: string } }>(token)?.header.kid ?? '' }
    verified.set(token, found)
    return found
  }

  app.decorate('verifyBearer', async (request: FastifyRequest) => {
    const { authorization = '' } = request.headers
    if (!/^Bearer /i.test(authorization)) throw invalidToken(false)
    const claims = await app.verifyAccessToken(request, authorization.slice(7))
    if (claims.aud !== audience && !(Array.isArray(claims.aud) && claims.aud.includes(audience))) throw invalidToken(true, 'for another audience')
    return claims
  })

  app.decorateRequest('bearer')
  app.decorate('requireUser', (demand: AccessRequirement = {}) => async (request: FastifyRequest) => {
    const claims = await app.verifyBearer(request)
    if (claims.sid === undefined || !meetsRequirement(claims, demand)) throw forbidden()
    request.bearer = claims
  })
}, { name: 'access-token', dependencies: ['keyring', 'revocations'] })
