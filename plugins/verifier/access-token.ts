import { hash } from 'node:crypto'
import { decodeJwt, decodeProtectedHeader, errors, jwtVerify, type JWTPayload, type ProtectedHeaderParameters } from 'jose'
import type { Token } from './revoked-sessions.ts'
import type { VerificationKey } from './jwk.ts'
import type { Keys } from './keys.ts'
import type { Settings } from './options.ts'
import { invalidToken } from './refusal.ts'

/**
 * The claims of a verified access token (RFC 9068 section 2.2), under their own names. Frozen, because all
 * requests with the token share it. Times are seconds since 1970 (NumericDate, RFC 7519 section 2).
 *
 * @example
 * app.get('/orders', { onRequest: app.requireAuth }, async ({ auth }) => {
 *   return auth.roles.includes('support') ? allOrders() : ordersOf(auth.sub)
 * })
 */
export interface Auth {
  /** The id of the user; in a client's own token, the id of the client. */
  readonly sub: string
  /** The id of the session; undefined in a client's own token. */
  readonly sid: string | undefined
  /** The user's roles (RFC 9068 section 2.2.3.1); empty in a client's own token. */
  readonly roles: readonly string[]
  /** The scopes, one by one (RFC 6749 section 3.3). */
  readonly scope: readonly string[]
  /** The client that the token was issued to (RFC 8693 section 4.3). */
  readonly client_id: string
  /** The id of the token. */
  readonly jti: string
  /** How often all of the user's tokens were revoked before this one was issued; undefined means never. */
  readonly token_version: number | undefined
  /** When the token was issued. */
  readonly iat: number
  /** When the token expires. */
  readonly exp: number
  /** When the user signed in; undefined in a client's own token. */
  readonly auth_time: number | undefined
  /** How the user signed in (RFC 8176); empty in a client's own token. */
  readonly amr: readonly string[]
}

interface Seen { auth: Auth, key: VerificationKey, until: number }

const longest = 8_192
// RFC 7515 section 7.1: three parts in base64url, without padding.
const compact = /^[\w-]+\.[\w-]+\.[\w-]+$/

/**
 * Makes a function that verifies access tokens (RFC 9068 section 4). It returns the claims of a cached token
 * at once, and a promise of the claims of any other token. It throws, or rejects with, a Refusal: 401 if the
 * token is not valid, 503 if it cannot be verified now.
 */
export function judge ({ issuer, audience, clockTolerance, cacheSize }: Settings, keys: Keys, isEnded: (token: Token) => boolean): (token: string) => Auth | Promise<Auth> {
  // By the SHA-256 of the whole token. Only valid tokens are cached; the least recently used one is dropped
  // first.
  const seen = new Map<string, Seen>()

  function alive (auth: Auth): Auth {
    if (isEnded(auth)) throw invalidToken('ended')
    return auth
  }

  async function verify (token: string, digest: string): Promise<Auth> {
    const { kid } = header(token)
    if (typeof kid !== 'string') throw invalidToken('a header without kid')
    const key = keys.find(kid) ?? await ask(kid, token)
    if (!key) throw invalidToken('an unknown key')
    const auth = describe(await claims(token, key), clockTolerance)
    // The key or the session may have ended meanwhile.
    if (!keys.holds(key)) throw invalidToken('a key that is not published any more')
    alive(auth)
    if (cacheSize > 0) {
      const oldest = seen.keys().next()
      if (seen.size >= cacheSize && !oldest.done) seen.delete(oldest.value)
      seen.set(digest, { auth, key, until: (auth.exp + clockTolerance) * 1_000 })
    }
    return auth
  }

  // The issuer is not asked for keys of other issuers' tokens and of expired ones, which come by mistake.
  async function ask (kid: string, token: string) {
    const { iss, exp = 0 } = unverified(token)
    if (iss !== issuer) throw invalidToken('the claim iss')
    if (!(exp + clockTolerance > Date.now() / 1_000)) throw invalidToken('expired')
    return await keys.ask(kid)
  }

  async function claims (token: string, { alg, publicKey }: VerificationKey): Promise<JWTPayload> {
    try {
      return (await jwtVerify(token, publicKey, { algorithms: [alg], typ: 'at+jwt', issuer, audience, clockTolerance })).payload
    } catch (error) {
      if (error instanceof errors.JWTExpired) throw invalidToken('expired')
      if (error instanceof errors.JWTClaimValidationFailed) throw invalidToken(`the claim ${error.claim}`)
      if (error instanceof errors.JOSEError) throw invalidToken(error.code)
      throw error
    }
  }

  return token => {
    if (token.length > longest) throw invalidToken('too long')
    const digest = hash('sha256', token, 'base64')
    const known = seen.get(digest)
    if (!known) return verify(token, digest)
    seen.delete(digest)
    if (Date.now() >= known.until || !keys.holds(known.key)) return verify(token, digest)
    alive(known.auth)
    seen.set(digest, known)
    return known.auth
  }
}

function header (token: string): ProtectedHeaderParameters {
  if (!compact.test(token)) throw invalidToken('malformed')
  // The last character of a signature has unused bits. Only one of the possible spellings is accepted, so
  // that a token has one digest.
  const signature = token.slice(token.lastIndexOf('.') + 1)
  if (Buffer.from(signature, 'base64url').toString('base64url') !== signature) throw invalidToken('a signature that is not canonical')
  try {
    return decodeProtectedHeader(token)
  } catch {
    throw invalidToken('malformed')
  }
}

function unverified (token: string): JWTPayload {
  try {
    return decodeJwt(token)
  } catch {
    throw invalidToken('malformed')
  }
}

function describe ({ sub, sid, roles, scope, client_id: clientId, jti, iat, exp, auth_time: authTime, amr, token_version: version }: JWTPayload, clockTolerance: number): Auth {
  if (!isText(sub)) throw invalidToken('the claim sub')
  if (!isText(clientId)) throw invalidToken('the claim client_id')
  if (!isText(jti)) throw invalidToken('the claim jti')
  if (iat === undefined || iat > Date.now() / 1_000 + clockTolerance) throw invalidToken('the claim iat')
  if (exp === undefined) throw invalidToken('the claim exp')
  // Only a client's own token has no session (RFC 9068 section 5: its `sub` is the client).
  if (!isOptional(sid, isText) || (sid === undefined && sub !== clientId)) throw invalidToken('the claim sid')
  if (!isOptional(roles, isTexts)) throw invalidToken('the claim roles')
  if (!isOptional(scope, isString)) throw invalidToken('the claim scope')
  if (!isOptional(amr, isTexts)) throw invalidToken('the claim amr')
  if (!isOptional(authTime, isNumber)) throw invalidToken('the claim auth_time')
  if (!isOptional(version, isNumber)) throw invalidToken('the claim token_version')
  // All requests with this token share the object.
  return Object.freeze({
    sub,
    sid,
    roles: Object.freeze(sid === undefined ? [] : [...roles ?? []]),
    scope: Object.freeze((scope ?? '').split(' ').filter(isText)),
    client_id: clientId,
    jti,
    token_version: version,
    iat,
    exp,
    auth_time: authTime,
    amr: Object.freeze([...amr ?? []])
  })
}

const isString = (value: unknown): value is string => typeof value === 'string'
const isText = (value: unknown): value is string => isString(value) && value !== ''
const isNumber = (value: unknown): value is number => typeof value === 'number'
const isTexts = (value: unknown): value is string[] => Array.isArray(value) && value.every(isString)
const isOptional = <T>(value: unknown, is: (value: unknown) => value is T): value is T | undefined => value === undefined || is(value)
