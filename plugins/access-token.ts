import jwt from '@fastify/jwt'
import { createSigner } from 'fast-jwt'
import type { FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { v7 as uuidv7, validate as isUuid } from 'uuid'
import type { SigningKey } from '../src/keyring.ts'
import { invalidToken, Problem } from '../src/problem.ts'
import type { LiveSession } from '../src/sessions.ts'

/** The claims of an access token (RFC 9068 section 2.2, with the session it belongs to). */
export interface AccessTokenClaims {
  iss: string
  aud: string
  sub: string
  client_id: string
  iat: number
  exp: number
  jti: string
  sid: string
  auth_time: number
  amr: string[]
  roles: string[]
  scope: string
}

declare module '@fastify/jwt' {
  interface FastifyJWT { payload: AccessTokenClaims, user: AccessTokenClaims }
}

declare module 'fastify' {
  interface FastifyInstance {
    /** An access token for a session, and the seconds it lives. */
    signAccessToken: (session: LiveSession) => { accessToken: string, expiresIn: number }
    /** The claims of the request's bearer token; throws `invalid_token`. */
    verifyBearer: (request: FastifyRequest) => Promise<AccessTokenClaims>
  }
  interface FastifyRequest { bearer: AccessTokenClaims }
}

export interface AccessTokenPluginOptions {
  issuer: string
  audience: string
  /** Seconds. */
  ttl: number
}

// What the service's own users are given: the use of their account here.
const firstParty = { client_id: 'latchkey', scope: 'account' }
const algorithms = ['ES256', 'EdDSA', 'RS256'] as const
const required = ['iss', 'aud', 'sub', 'client_id', 'iat', 'exp', 'jti', 'sid']

/** Signs and verifies access tokens (RFC 9068). */
export default fp(async function accessToken (app, { issuer, audience, ttl }: AccessTokenPluginOptions) {
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
      allowedAud: audience,
      checkTyp: 'at+jwt',
      requiredClaims: required,
      clockTolerance: 5_000,
      cache: 10_000,
      errorCacheTTL: 0
    }
  })

  // Making a signer costs ten times as much as signing.
  const signers = new Map<string, (claims: AccessTokenClaims) => string>()
  function signerOf ({ kid, algorithm, privateKey }: SigningKey) {
    let sign = signers.get(kid)
    if (!sign) {
      sign = createSigner({ algorithm, key: privateKey, kid, header: { alg: algorithm, typ: 'at+jwt' } })
      signers.set(kid, sign)
    }
    return sign
  }

  app.decorate('signAccessToken', ({ id, user, methods, authenticatedAt, expiresAt, now }: LiveSession) => {
    const iat = Math.floor(now.getTime() / 1000)
    const exp = Math.min(iat + ttl, Math.floor(expiresAt.getTime() / 1000))
    const accessToken = signerOf(app.keyring.signer())({
      iss: issuer,
      aud: audience,
      sub: user.id,
      ...firstParty,
      iat,
      exp,
      jti: uuidv7(),
      sid: id,
      auth_time: Math.floor(authenticatedAt.getTime() / 1000),
      amr: methods,
      roles: user.roles
    })
    return { accessToken, expiresIn: exp - iat }
  })

  app.decorate('verifyBearer', async request => {
    const { authorization = '' } = request.headers
    if (!/^Bearer /i.test(authorization)) throw invalidToken(false)
    // The last character of a signature has bits to spare: of the spellings of a token only its own is one.
    const signature = authorization.slice(authorization.lastIndexOf('.') + 1)
    if (Buffer.from(signature, 'base64url').toString('base64url') !== signature) throw invalidToken(true, 'a signature that is not canonical')
    let claims: AccessTokenClaims
    try {
      claims = await request.jwtVerify<AccessTokenClaims>()
    } catch (error) {
      if (error instanceof Problem) throw error
      throw invalidToken(true, error instanceof Error ? error.message : error)
    }
    if (typeof claims.iat !== 'number' || claims.iat > Date.now() / 1000 + 60) throw invalidToken(true, 'issued in the future')
    if (!isUuid(claims.sid)) throw invalidToken(true, 'a session id of another kind')
    return claims
  })
  app.decorateRequest('bearer')
}, { name: 'access-token', dependencies: ['keyring'] })
