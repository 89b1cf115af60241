import { hash } from 'node:crypto'
import { decodeJwt, decodeProtectedHeader, errors, jwtVerify, type JWTPayload, type ProtectedHeaderParameters } from 'jose'
import type { Token } from './revoked-sessions.ts'
import type { VerificationKey } from './jwk.ts'
import type { Keys } from './keys.ts'
import type { Settings } from './options.ts'
import { invalidToken } from './refusal.ts'

/** What a verified access token says (RFC 9068), under the names of its claims. */
export interface Auth {
  /** The user; for a client's own token the client. */
  readonly sub: string
  /** The session; undefined in a client's own token. */
  readonly sid: string | undefined
  /** None in a client's own token. */
  readonly roles: readonly string[]
  /** The values of `scope`, one by one. */
  readonly scope: readonly string[]
  readonly client_id: string
  readonly jti: string
  /** How often all of the user's tokens were revoked before this one; undefined for never. */
  readonly token_version: number | undefined
  /** Seconds since the epoch, as are the other times. */
  readonly iat: number
  readonly exp: number
  /** When and how (RFC 8176) the user signed in. */
  readonly auth_time: number | undefined
  readonly amr: readonly string[]
}

interface Seen { auth: Auth, key: VerificationKey, until: number }

const longest = 8_192
// Three parts in base64url, without padding.
const compact = /^[\w-]+\.[\w-]+\.[\w-]+$/

/**
 * Judges access tokens: gives at once what a token says that it has seen, and a promise of it for others. Throws, or
 * rejects with, a Refusal: 401 where the token is not valid, 503 where nobody can tell.
 */
export function judge ({ issuer, audience, clockTolerance, cacheSize }: Settings, keys: Keys, isEnded: (token: Token) => boolean): (token: string) => Auth | Promise<Auth> {
  // By the SHA-256 of the whole token; only valid ones get in, and the one not used for longest goes first.
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
    // Both may have changed meanwhile.
    if (!keys.holds(key)) throw invalidToken('a key that is not published any more')
    alive(auth)
    if (cacheSize > 0) {
      const oldest = seen.keys().next()
      if (seen.size >= cacheSize && !oldest.done) seen.delete(oldest.value)
      seen.set(digest, { auth, key, until: (auth.exp + clockTolerance) * 1_000 })
    }
    return auth
  }

  // The issuer is not asked for the keys of others, nor for those of long ago: such tokens come by mistake.
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
  // The last character of a signature has bits to spare: of the spellings of a token only its own is one.
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
  // Only a client that acts for itself has no session.
  if (!isOptional(sid, isText) || (sid === undefined && sub !== clientId)) throw invalidToken('the claim sid')
  if (!isOptional(roles, isTexts)) throw invalidToken('the claim roles')
  if (!isOptional(scope, isString)) throw invalidToken('the claim scope')
  if (!isOptional(amr, isTexts)) throw invalidToken('the claim amr')
  if (!isOptional(authTime, isNumber)) throw invalidToken('the claim auth_time')
  if (!isOptional(version, isNumber)) throw invalidToken('the claim token_version')
  // Shared by all requests with this token.
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
