import jwt from '@fastify/jwt'
import type { FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { LRUCache } from 'lru-cache'
import { forbidden, invalidToken } from '../src/http/problems.ts'
import { meetsRequirement, type AccessRequirement } from '../src/syntax/roles.ts'
import { signingAlgorithms } from '../src/tokens/key-pair.ts'
import type { SigningKey } from '../src/tokens/keyring.ts'
import type { UserClaims, VerifiedClaims } from './verifier/claims.ts'
import * as tokenRules from './verifier/token-rules.ts'
import { TokenRejection, type TokenRules } from './verifier/token-rules.ts'

type RequestHook = (request: FastifyRequest) => Promise<void>

declare module 'fastify' {
  interface FastifyInstance {
    /**
     * Returns the claims of a valid token of this service, for any audience and of any client. Throws
     * `invalid_token`.
     */
    verifyAccessToken: (request: FastifyRequest, token: string) => Promise<VerifiedClaims>
    /**
     * Returns the claims of the request's bearer token, for this service. A user's token must be of the first
     * party. Throws `invalid_token`.
     */
    verifyBearer: (request: FastifyRequest) => Promise<VerifiedClaims>
    /**
     * Creates a hook that sets `request.bearer`. The hook throws `invalid_token`. It throws `forbidden` for a
     * client's own token, and for a token that has none of the roles or not all of the scopes.
     */
    requireUser: (requirement?: AccessRequirement) => RequestHook
  }
  interface FastifyRequest {
    /** The claims of the user who sent the request. Undefined on routes without `requireUser`. */
    bearer: UserClaims | undefined
  }
}

export interface AccessTokenPluginOptions {
  issuer: string
  audience: string
}

const maxVerifiedTokens = 10_000

/** Verifies access tokens (RFC 9068), and protects routes by them. */
export default fp(async function accessToken (app, { issuer, audience }: AccessTokenPluginOptions) {
  const rules: TokenRules = {
    issuer,
    algorithms: signingAlgorithms,
    clockToleranceSeconds: tokenRules.defaultClockToleranceSeconds
  }
  // The token and key of the verification that a request waits for. @fastify/jwt knows only the request.
  const pending = new WeakMap<FastifyRequest, { token: string, key: SigningKey }>()
  await app.register(jwt, {
    secret: {
      private: '',
      public: async (request: FastifyRequest) => pending.get(request)?.key.publicKey ?? ''
    },
    verify: {
      algorithms: [...signingAlgorithms],
      // The token rules judge the claims.
      ignoreExpiration: true,
      ignoreNotBefore: true,
      errorCacheTTL: 0,
      extractToken: request => pending.get(request)?.token
    }
  })

  async function verifySignature (request: FastifyRequest, token: string, key: SigningKey) {
    pending.set(request, { token, key })
    try {
      await request.jwtVerify()
    } catch (error) {
      if (isTokenError(error)) throw new TokenRejection('invalid signature')
      throw error
    }
  }

  // Access tokens get their times from the database, so they are judged by its clock.
  const nowSeconds = () => app.keyring.nowMs() / 1_000

  interface CachedToken { claims: VerifiedClaims, kid: string }
  // A verified token stays valid until it expires, its key is dropped or it is revoked.
  const verifiedTokens = new LRUCache<string, CachedToken>({ max: maxVerifiedTokens })

  async function verify (request: FastifyRequest, token: string): Promise<CachedToken> {
    const unverified = tokenRules.readToken(token, rules, nowSeconds())
    const { alg, kid } = unverified
    const key = await app.keyring.findSigningKey(kid)
    if (key?.algorithm !== alg) throw new TokenRejection('unknown key')
    await verifySignature(request, token, key)
    const verified = { claims: tokenRules.judgeClaims(unverified, rules, nowSeconds()), kid }
    verifiedTokens.set(token, verified)
    return verified
  }

  app.decorate('verifyAccessToken', async (request, token) => await rejectAsProblem(async () => {
    const { claims, kid } = verifiedTokens.get(token) ?? await verify(request, token)
    if (!app.keyring.isKnownKey(kid)) throw new TokenRejection('key no longer published')
    if (tokenRules.isExpired(claims.exp, rules, nowSeconds())) throw new TokenRejection('token expired')
    if (app.revocations.isRevoked(claims)) throw new TokenRejection('token revoked')
    return claims
  }))

  app.decorate('verifyBearer', async request => {
    const { authorization = '' } = request.headers
    if (!/^Bearer /i.test(authorization)) throw invalidToken(false)
    const claims = await app.verifyAccessToken(request, authorization.slice('Bearer '.length))
    return await rejectAsProblem(async () => {
      tokenRules.assertAudience(claims, audience)
      tokenRules.assertClient(claims, [])
      return claims
    })
  })

  app.decorateRequest('bearer')
  app.decorate('requireUser', (requirement: AccessRequirement = {}) => async request => {
    const claims = await app.verifyBearer(request)
    if (claims.sid === undefined || !meetsRequirement(claims, requirement)) throw forbidden()
    request.bearer = claims
  })
}, { name: 'access-token', dependencies: ['keyring', 'revocations'] })

// The errors of fast-jwt and @fastify/jwt about a token. A fault of the service has another code.
const isTokenError = (error: unknown) =>
  error instanceof Error && 'code' in error && /^FA?ST_JWT_/.test(String(error.code))

/** Turns a TokenRejection into the problem `invalid_token`, with the reason for the log. */
async function rejectAsProblem<T> (work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw error instanceof TokenRejection ? invalidToken(true, error.reason) : error
  }
}
