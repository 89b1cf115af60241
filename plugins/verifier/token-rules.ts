import type { AccessTokenClaims, RevocableClaims, VerifiedClaims } from './claims.ts'
import {
  isAudience, isNumber, isScalar, isString, isStrings, isText, readObject, splitToken
} from './compact-token.ts'
import { invalidClaim, invalidHeader, TokenRejection } from './token-rejection.ts'

export { maxTokenLength } from './compact-token.ts'
export { TokenRejection }

/**
 * The rules by which an access token (RFC 9068) is judged. The service and the verifier share them, so that
 * one accepts exactly what the other accepts. Each checks the signature with its own library and keys,
 * between `readToken` and `judgeClaims`.
 */
export interface TokenRules {
  /** The only `iss`. */
  issuer: string
  /** What `aud` must name. Without it, any audience passes. */
  audience?: string | undefined
  /**
   * The clients whose users' tokens pass, beside those of the first party. Without it, any client's pass.
   */
  clients?: readonly string[] | undefined
  /** The signature algorithms (RFC 7518) that the header may name. */
  algorithms: readonly string[]
  /** By how much two clocks may differ when `exp`, `nbf` and `iat` are compared with the time. */
  clockToleranceSeconds: number
}

export const defaultClockToleranceSeconds = 5

/** The `client_id` of users who sign in to Latchkey itself. */
export const firstPartyClientId = 'latchkey'

/** What a token says. It proves nothing until its signature is verified. */
export interface UnverifiedToken {
  readonly alg: string
  readonly kid: string
  readonly claims: Readonly<Record<string, unknown>>
}

/** What is known of revoked tokens. */
export interface RevokedTokens {
  /** Whether this `sid` or `jti` was revoked. */
  hasId: (id: string) => boolean
  /** Tokens of this user with a lower `token_version` were revoked; 0 if none were. */
  minTokenVersion: (sub: string) => number
}

/**
 * Reads a token before its signature is verified: its form, its header, and whether it can be of this issuer
 * and alive, so that no key is looked up for other tokens. Throws a TokenRejection. `nowSeconds` is the time.
 */
export function readToken (token: string, rules: TokenRules, nowSeconds: number): UnverifiedToken {
  const [headerPart, payloadPart] = splitToken(token)
  const { typ, alg, kid, ...header } = readObject(headerPart)
  // RFC 9068 section 4 and RFC 8725 section 3.11: no other kind of token may pass for an access token.
  if (!isText(typ) || !accessTokenTypeSyntax.test(typ)) throw invalidHeader('typ')
  // RFC 8725 section 3.1. The keys that `jku`, `jwk` and `x5u` bring along are never used (section 3.10).
  if (!isText(alg) || !rules.algorithms.includes(alg)) throw invalidHeader('alg')
  if (!isText(kid)) throw invalidHeader('kid')
  // RFC 7515 section 4.1.11: an extension that is not understood must be rejected. None is.
  if ('crit' in header) throw invalidHeader('crit')
  const claims = readObject(payloadPart)
  if (claims['iss'] !== rules.issuer) throw invalidClaim('iss')
  readExpiry(claims, rules, nowSeconds)
  return { alg, kid, claims }
}

/**
 * Judges the claims of a token whose signature is valid (RFC 7519 section 4.1, RFC 9068 section 2.2), and
 * returns them. Throws a TokenRejection. An absent `scope`, `roles` or `amr` means none.
 */
export function judgeClaims (
  { claims }: UnverifiedToken, rules: TokenRules, nowSeconds: number
): VerifiedClaims {
  const { iss, aud, sub, client_id: clientId, iat, nbf, jti, sid, scope = '' } = claims
  const { roles = [], amr = [], auth_time: authTime, token_version: tokenVersion } = claims
  if (iss !== rules.issuer) throw invalidClaim('iss')
  if (!isAudience(aud)) throw invalidClaim('aud')
  assertAudience({ aud }, rules.audience)
  const exp = readExpiry(claims, rules, nowSeconds)
  const latestSeconds = nowSeconds + rules.clockToleranceSeconds
  if (nbf !== undefined && !isNumber(nbf)) throw invalidClaim('nbf')
  if (nbf !== undefined && nbf > latestSeconds) throw new TokenRejection('token not yet valid')
  if (!isNumber(iat)) throw invalidClaim('iat')
  if (iat > latestSeconds) throw new TokenRejection('token issued in the future')
  if (!isText(sub)) throw invalidClaim('sub')
  if (!isText(clientId)) throw invalidClaim('client_id')
  if (!isText(jti)) throw invalidClaim('jti')
  if (!isString(scope)) throw invalidClaim('scope')
  if (!isStrings(roles)) throw invalidClaim('roles')
  if (!isStrings(amr)) throw invalidClaim('amr')
  if (authTime !== undefined && !isNumber(authTime)) throw invalidClaim('auth_time')
  if (tokenVersion !== undefined && !isNumber(tokenVersion)) throw invalidClaim('token_version')
  const additional = readAdditional(claims)
  const base = { iss: rules.issuer, aud, sub, client_id: clientId, scope, iat, exp, jti, additional }
  // RFC 9068 section 2.2: only in a client's own token is the subject the client. It has no session.
  if (sid === undefined && sub === clientId) return base
  if (!isString(sid) || !uuidSyntax.test(sid)) throw invalidClaim('sid')
  assertClient({ sid, client_id: clientId }, rules.clients)
  return {
    ...base,
    sid,
    roles,
    amr,
    ...authTime !== undefined && { auth_time: authTime },
    ...tokenVersion !== undefined && { token_version: tokenVersion }
  }
}

/**
 * Throws a TokenRejection unless `aud` names this audience (RFC 7519 section 4.1.3). Without one, any passes.
 */
export function assertAudience ({ aud }: Pick<AccessTokenClaims, 'aud'>, audience: string | undefined): void {
  if (audience !== undefined && !(isString(aud) ? [aud] : aud).includes(audience)) throw invalidClaim('aud')
}

/**
 * Throws a TokenRejection unless a user's token was issued to the first party or one of these clients. An
 * application of someone else also holds tokens of the users who signed in to it, even of administrators. A
 * client's own token passes, because it stands for no user. Without `clients`, any passes.
 */
export function assertClient (
  { sid, client_id: clientId }: Pick<AccessTokenClaims, 'sid' | 'client_id'>,
  clients: readonly string[] | undefined
): void {
  if (clients === undefined || sid === undefined || clientId === firstPartyClientId) return
  if (!clients.includes(clientId)) throw invalidClaim('client_id')
}

/** RFC 7519 section 4.1.4: a token ends at the second that `exp` names, by the clock tolerance later. */
export const isExpired = (exp: number, { clockToleranceSeconds }: TokenRules, nowSeconds: number): boolean =>
  nowSeconds >= exp + clockToleranceSeconds

/** Whether a token was revoked: by itself, with its session, or with all tokens of its user. */
export function isRevoked (token: RevocableClaims, revoked: RevokedTokens): boolean {
  const { sub, sid, jti, token_version: version = 0 } = token
  if (revoked.hasId(jti)) return true
  return sid !== undefined && (revoked.hasId(sid) || version < revoked.minTokenVersion(sub))
}

const knownClaims: ReadonlySet<string> = new Set([
  'iss', 'aud', 'sub', 'client_id', 'scope', 'iat', 'nbf', 'exp', 'jti', 'sid', 'roles', 'amr', 'auth_time',
  'token_version'
])

/** The claims with other names. Latchkey issues none whose value is an object or a list. */
const readAdditional = (claims: UnverifiedToken['claims']): VerifiedClaims['additional'] =>
  Object.fromEntries(Object.entries(claims).flatMap(([name, value]) =>
    !knownClaims.has(name) && isScalar(value) ? [[name, value]] : []))

function readExpiry ({ exp }: UnverifiedToken['claims'], rules: TokenRules, nowSeconds: number): number {
  if (!isNumber(exp)) throw invalidClaim('exp')
  if (isExpired(exp, rules, nowSeconds)) throw new TokenRejection('token expired')
  return exp
}

const accessTokenTypeSyntax = /^(application\/)?at\+jwt$/i
// Sessions have ids in the lower case of RFC 9562 section 4. Another spelling would escape the revocation
// log.
const uuidSyntax = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/
