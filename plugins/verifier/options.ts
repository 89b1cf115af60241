/** The signature algorithms that Latchkey uses (RFC 7518 section 3.1, RFC 8037 section 3.1). */
export type Algorithm = 'ES256' | 'EdDSA' | 'RS256'

const known: readonly Algorithm[] = ['ES256', 'EdDSA', 'RS256']

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
   * The id of a client with the scope `revocations`. With it, tokens of ended sessions are rejected within a
   * second; without it, they are accepted until they expire.
   */
  clientId?: string | undefined
  /** The client's secret (RFC 6749 section 2.3.1). Required with `clientId`. */
  clientSecret?: string | undefined
  /** The algorithms accepted (RFC 8725 section 3.1); default: `['ES256', 'EdDSA', 'RS256']`. */
  algorithms?: readonly Algorithm[] | undefined
  /**
   * Seconds by which the issuer's clock and this one may differ (RFC 7519 section 4.1.4), 0 to 60; default 5.
   */
  clockTolerance?: number | undefined
  /** How many verified tokens are cached, about a kilobyte each; default 10,000, and 0 for none. */
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
}

/** The options after they were checked, with their defaults. */
export interface Settings {
  issuer: string
  audience: string
  credentials: { id: string, secret: string } | undefined
  algorithms: readonly Algorithm[]
  clockTolerance: number
  cacheSize: number
  feedTimeout: number
  failClosedAfter: number | undefined
}

const names: ReadonlySet<string> = new Set<keyof VerifierOptions>(['issuer', 'audience', 'clientId', 'clientSecret', 'algorithms', 'clockTolerance', 'cacheSize', 'feedTimeout', 'failClosedAfter'])
// Fastify itself reads these from the options of every plugin.
const fastifys: ReadonlySet<string> = new Set(['prefix', 'logLevel', 'logSerializers'])

/** Checks options and fills in the defaults. Throws an Error that names every problem. */
export function check (options: VerifierOptions): Settings {
  const { issuer, audience, clientId, clientSecret, algorithms = known, clockTolerance = 5, cacheSize = 10_000, feedTimeout = 15, failClosedAfter } = options
  const problems: string[] = []
  const demand = (holds: boolean, problem: string) => { if (!holds) problems.push(problem) }
  const isNumber = (value: unknown, least: number, most: number) => typeof value === 'number' && value >= least && value <= most
  const isText = (value: unknown) => typeof value === 'string' && value !== ''

  for (const name of Object.keys(options)) demand(names.has(name) || fastifys.has(name), `"${name}" is not an option`)
  demand(isIssuer(issuer), 'issuer must be an http or https URL without a trailing slash, query or fragment, as the tokens have it in "iss"')
  demand(isText(audience), 'audience must be a text, as the tokens have it in "aud"')
  demand((clientId === undefined) === (clientSecret === undefined), 'clientId and clientSecret go together')
  demand(clientId === undefined || isText(clientId), 'clientId must be a text')
  demand(clientSecret === undefined || isText(clientSecret), 'clientSecret must be a text')
  demand(Array.isArray(algorithms) && algorithms.length > 0 && algorithms.every(algorithm => known.includes(algorithm)), `algorithms must be some of ${known.join(', ')}`)
  demand(isNumber(clockTolerance, 0, 60), 'clockTolerance must be 0 to 60 seconds')
  demand(isNumber(cacheSize, 0, 10_000_000) && Number.isInteger(cacheSize), 'cacheSize must be a count of tokens')
  demand(isNumber(feedTimeout, 1, 3_600), 'feedTimeout must be 1 to 3600 seconds')
  demand(failClosedAfter === undefined || isNumber(failClosedAfter, feedTimeout, 86_400), 'failClosedAfter must be at least feedTimeout, and at most 86400 seconds')
  demand(failClosedAfter === undefined || clientId !== undefined, 'failClosedAfter needs clientId and clientSecret: without them no feed is followed')
  if (problems.length > 0) throw new Error(`latchkey/verifier: ${problems.join('; ')}`)

  const credentials = clientId === undefined || clientSecret === undefined ? undefined : { id: clientId, secret: clientSecret }
  return { issuer, audience, credentials, algorithms: [...algorithms], clockTolerance, cacheSize, feedTimeout, failClosedAfter }
}

function isIssuer (issuer: unknown): boolean {
  if (typeof issuer !== 'string' || issuer.endsWith('/') || !URL.canParse(issuer)) return false
  const { protocol, username, password } = new URL(issuer)
  return ['https:', 'http:'].includes(protocol) && username === '' && password === '' && !/[?#\s]/.test(issuer)
}
