import { createDecoder, createSigner, createVerifier } from 'fast-jwt'
import fp from 'fastify-plugin'
import { LRUCache } from 'lru-cache'
import {
  hashAccessToken, type IdTokenClaims, type IdTokenHint, type LogoutTokenClaims
} from '../src/tokens/id-token.ts'
import { idTokenAlgorithm } from '../src/tokens/key-pair.ts'
import type { SigningKey } from '../src/tokens/keyring.ts'
import { maxTokenLength } from './verifier/token-rules.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /**
     * Signs an ID token (OpenID Connect Core 1.0 section 2). With RS256, a key that clients of OpenID Connect
     * always understand signs it; for any other algorithm, the key of access tokens does. `at_hash` is added
     * for the access token that is issued with it.
     */
    signIdToken: (claims: IdTokenClaims, algorithm: string, accessToken?: string) => string
    /** Throws `database_unavailable` if no key can sign an ID token with this algorithm now. */
    assertIdTokenKey: (algorithm: string) => void
    /** Signs a logout token (OpenID Connect Back-Channel Logout 1.0 section 2.4) as ID tokens are signed. */
    signLogoutToken: (claims: LogoutTokenClaims, algorithm: string) => string
    /**
     * Reads an ID token that this service has issued and a client presents as `id_token_hint`. It may have
     * expired. Returns undefined for any other text, for other kinds of tokens, and if the key was dropped or
     * is no longer published.
     */
    readIdTokenHint: (token: string) => Promise<IdTokenHint | undefined>
  }
}

export interface IdTokenOptions { issuer: string }

const idTokenType = 'JWT'
const logoutTokenType = 'logout+jwt'
const logoutEvents = { 'http://schemas.openid.net/event/backchannel-logout': {} }
const maxSigners = 20

/** Signs the tokens that tell clients who signed in and out, and reads the ID tokens that come back. */
export default fp(async function idTokens (app, { issuer }: IdTokenOptions) {
  const findSigningKey = (algorithm: string) =>
    algorithm === idTokenAlgorithm ? app.keyring.getIdTokenKey() : app.keyring.getSigningKey()

  // Creating a signer takes ten times as long as signing.
  const signers = new LRUCache<string, (claims: object) => string>({ max: maxSigners })
  function sign (typ: string, claims: object, { kid, algorithm, privateKey }: SigningKey): string {
    const name = `${typ} ${kid}`
    const header = { alg: algorithm, typ }
    const signer = signers.get(name) ?? createSigner({ algorithm, key: privateKey, kid, header })
    signers.set(name, signer)
    return signer(claims)
  }

  app.decorate('assertIdTokenKey', algorithm => { findSigningKey(algorithm) })
  app.decorate('signIdToken', (claims, algorithm, accessToken) => {
    const key = findSigningKey(algorithm)
    const binding = accessToken === undefined ? {} : { at_hash: hashAccessToken(accessToken, key.algorithm) }
    return sign(idTokenType, { ...claims, ...binding, iss: issuer }, key)
  })

  app.decorate('signLogoutToken', (claims, algorithm) =>
    sign(logoutTokenType, { ...claims, iss: issuer, events: logoutEvents }, findSigningKey(algorithm)))

  app.decorate('readIdTokenHint', async token => {
    if (token.length > maxTokenLength) return undefined
    const { typ, alg, kid } = readHeader(token)
    // RFC 8725 section 3.11: an access token or a logout token must not pass for an ID token.
    if (typ !== idTokenType || typeof kid !== 'string') return undefined
    const key = await app.keyring.findSigningKey(kid)
    if (!key || key.algorithm !== alg) return undefined
    const claims = verifySignature(token, key)
    return claims?.['iss'] === issuer ? toHint(claims) : undefined
  })
}, { name: 'id-tokens', dependencies: ['keyring'] })

const decode = createDecoder({ complete: true })

function readHeader (token: string): { typ?: unknown, alg?: unknown, kid?: unknown } {
  try {
    return Object(decode(token).header)
  } catch {
    return {}
  }
}

/** Returns the claims, or undefined if the signature is not valid. */
function verifySignature (
  token: string, { publicKey, algorithm }: SigningKey
): Record<string, unknown> | undefined {
  const options = { ignoreExpiration: true, ignoreNotBefore: true, cache: false }
  const verify = createVerifier({ key: publicKey, algorithms: [algorithm], ...options })
  try {
    return Object(verify(token))
  } catch {
    return undefined
  }
}

const isText = (value: unknown): value is string => typeof value === 'string' && value !== ''
const isTexts = (value: unknown): value is string[] => Array.isArray(value) && value.every(isText)

function toHint ({ sub, sid, aud, azp }: Record<string, unknown>): IdTokenHint | undefined {
  const audiences = isTexts(aud) ? aud : [aud]
  const client = azp ?? (audiences.length === 1 ? audiences[0] : undefined)
  if (!isText(sub) || !(isText(aud) || isTexts(aud)) || !isText(client)) return undefined
  if (sid !== undefined && !isText(sid)) return undefined
  return { sub, sid, aud, client }
}
