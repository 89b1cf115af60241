import type { VerifierLog } from './log.ts'

/** The signature algorithms that Latchkey supports. */
export type Algorithm = 'ES256' | 'EdDSA' | 'RS256'

export const allAlgorithms: readonly Algorithm[] = ['ES256', 'EdDSA', 'RS256']

/**
 * The options of the verifier. All durations are in seconds.
 *
 * @example
 * { issuer: 'https://auth.example.com', audience: 'https://auth.example.com' }
 */
export interface VerifierOptions {
  /**
   * The issuer, exactly as it is in the claim `iss` (RFC 9068 section 4): `ISSUER_URL` of Latchkey. An http
   * or https URL without a trailing slash, query or fragment.
   */
  issuer: string
  /**
   * The audience that tokens must name in `aud` (RFC 9068 section 4): `AUDIENCE` of Latchkey, or your
   * service.
   */
  audience: string
  /**
   * The ids of the clients whose users' tokens are accepted, beside the tokens of users who signed in to
   * Latchkey itself; default: none. Name the applications that delegate their sign-in to Latchkey and may
   * call your service. A client's own token, which stands for no user, needs no entry.
   */
  clients?: readonly string[] | undefined
  /**
   * Where the issuer is reached if its own URL does not resolve here, such as `http://latchkey:3000`;
   * default: the issuer. The metadata are read under this URL, and so are the addresses under the issuer that
   * they name. Tokens still name the issuer in `iss`. If the issuer has a path, this URL needs it too.
   */
  discoveryUrl?: string | undefined
  /**
   * The id of a client with the scope `revocations`. With it, tokens of ended sessions are rejected within a
   * second; without it, they are accepted until they expire.
   */
  clientId?: string | undefined
  /** The client's secret (RFC 6749 section 2.3.1). Required with `clientId`. */
  clientSecret?: string | undefined
  /** The accepted algorithms (RFC 8725 section 3.1); default: `['ES256', 'EdDSA', 'RS256']`. */
  algorithms?: readonly Algorithm[] | undefined
  /**
   * Seconds by which the issuer's clock and this one may differ (RFC 7519 section 4.1.4), 0 to 60; default 5.
   */
  clockTolerance?: number | undefined
  /** How many verified tokens are cached, about a kilobyte each; default 10,000. 0 disables the cache. */
  cacheSize?: number | undefined
  /**
   * Seconds without a byte after which the revocation feed counts as lost, 1 to 3,600; default 15, three
   * heartbeats.
   */
  feedTimeout?: number | undefined
  /**
   * Seconds without the revocation feed after which every token is answered 503, from `feedTimeout` to
   * 86,400. Tokens are then also answered 503 until the feed is followed for the first time. By default the
   * verifier fails open: while the feed is lost, tokens are accepted until they expire. Needs `clientId`.
   */
  failClosedAfter?: number | undefined
  /** Where to log; default: the log of Fastify, and otherwise the console, for warnings and errors. */
  log?: VerifierLog | undefined
}
