import { hash } from 'node:crypto'
import { compactVerify, errors } from 'jose'
import { toAuth, type Auth } from './auth.ts'
import type { RevocableClaims } from './claims.ts'
import type { VerificationKey } from './jwk.ts'
import type { IssuerKeys } from './keys.ts'
import type { VerifierSettings } from './settings.ts'
import { invalidToken, unavailable } from './auth-error.ts'
import * as tokenRules from './token-rules.ts'
import { TokenRejection, type TokenRules, type UnverifiedToken } from './token-rules.ts'

interface VerifiedToken { auth: Auth, key: VerificationKey }

/** Returns at once what a cached token says, and otherwise a promise of it. */
export type TokenJudge = (token: string) => Auth | Promise<Auth>

/**
 * Creates a judge of access tokens. The judge throws, or rejects with, an AuthError: 401 if the token is not
 * valid, 503 if that cannot be known now.
 */
export function createTokenJudge (
  settings: VerifierSettings, keys: IssuerKeys, isRevoked: (token: RevocableClaims) => boolean
): TokenJudge {
  const { issuer, audience, clients, algorithms, clockTolerance, cacheSize } = settings
  const rules: TokenRules = { issuer, audience, clients, algorithms, clockToleranceSeconds: clockTolerance }
  // Valid tokens by the SHA-256 of the whole token. The least recently used one is dropped first.
  const cache = new Map<string, VerifiedToken>()

  function assertNotRevoked (auth: Auth): Auth {
    if (isRevoked(auth)) throw new TokenRejection('token revoked')
    return auth
  }

  function read (token: string): UnverifiedToken {
    try {
      return tokenRules.readToken(token, rules, nowSeconds())
    } catch (error) {
      // Until the issuer has confirmed its name, it may be the option that is wrong and not the token.
      const isOfAnother = error instanceof TokenRejection && error.reason === 'invalid claim: iss'
      throw isOfAnother && !keys.areKnown() ? unavailable('issuer keys not read yet') : error
    }
  }

  async function verify (token: string): Promise<VerifiedToken> {
    const unverified = read(token)
    const key = keys.find(unverified.kid) ?? await keys.ask(unverified.kid)
    if (!key || key.alg !== unverified.alg) throw new TokenRejection('unknown key')
    await verifySignature(token, key, unverified)
    const auth = toAuth(tokenRules.judgeClaims(unverified, rules, nowSeconds()))
    // Both may have changed while the signature was verified.
    if (!keys.holds(key)) throw new TokenRejection('key no longer published')
    return { auth: assertNotRevoked(auth), key }
  }

  async function verifyAndCache (token: string, digest: string): Promise<Auth> {
    try {
      const verified = await verify(token)
      if (cacheSize > 0) {
        const oldest = cache.keys().next()
        if (cache.size >= cacheSize && !oldest.done) cache.delete(oldest.value)
        cache.set(digest, verified)
      }
      return verified.auth
    } catch (error) {
      throw toAuthError(error)
    }
  }

  return token => {
    // In JavaScript it may be a parameter of a query that is missing or comes twice.
    if (typeof token !== 'string') throw invalidToken('malformed token')
    if (token.length > tokenRules.maxTokenLength) throw invalidToken('token too long')
    const digest = hash('sha256', token, 'base64')
    const cached = cache.get(digest)
    if (!cached) return verifyAndCache(token, digest)
    cache.delete(digest)
    const isStale = tokenRules.isExpired(cached.auth.exp, rules, nowSeconds()) || !keys.holds(cached.key)
    if (isStale) return verifyAndCache(token, digest)
    try {
      assertNotRevoked(cached.auth)
    } catch (error) {
      throw toAuthError(error)
    }
    cache.set(digest, cached)
    return cached.auth
  }
}

const nowSeconds = () => Date.now() / 1_000

const toAuthError = (error: unknown) => error instanceof TokenRejection ? invalidToken(error.reason) : error

async function verifySignature (token: string, { publicKey }: VerificationKey, { alg }: UnverifiedToken) {
  try {
    await compactVerify(token, publicKey, { algorithms: [alg] })
  } catch (error) {
    if (error instanceof errors.JOSEError) throw new TokenRejection('invalid signature')
    throw error
  }
}
