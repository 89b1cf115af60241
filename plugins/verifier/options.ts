import { defaultClockToleranceSeconds } from './token-rules.ts'

/** The signature algorithms that Latchkey supports. */
export type Algorithm = 'ES256' | 'EdDSA' | 'RS256'

const allAlgorithms: readonly Algorithm[] = ['ES256', 'EdDSA', 'RS256']

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
   * Where the issuer is reached if its own URL does not resolve here, such as `http://latchkey:3000`; default:
   * the issuer. The metadata are read under this URL, and so are the addresses under the issuer that they
   * name. Tokens still name the issuer in `iss`. If the issuer has a path, this URL needs it too.
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
}

/** Checked options, with defaults. All durations are seconds. */
export interface VerifierSettings {
  issuer: string
  audience: string
  /** Without a trailing slash. */
  discoveryUrl: string
  credentials: ClientCredentials | undefined
  algorithms: readonly Algorithm[]
  clockTolerance: number
  cacheSize: number
  feedTimeout: number
  failClosedAfter: number | undefined
}

export interface ClientCredentials { id: string, secret: string }

const optionNames: ReadonlySet<string> = new Set<keyof VerifierOptions>([
  'issuer', 'audience', 'discoveryUrl', 'clientId', 'clientSecret', 'algorithms', 'clockTolerance', 'cacheSize',
  'feedTimeout', 'failClosedAfter'
])
// Fastify accepts these in the options of every plugin.
const fastifyOptionNames: ReadonlySet<string> = new Set(['prefix', 'logLevel', 'logSerializers'])

/** Checks the options and fills in the defaults. Throws an error that names every problem. */
export function checkOptions (options: VerifierOptions): VerifierSettings {
  const { issuer, audience, discoveryUrl, clientId, clientSecret, failClosedAfter } = options
  const { algorithms = allAlgorithms, cacheSize = 10_000, feedTimeout = 15 } = options
  const { clockTolerance = defaultClockToleranceSeconds } = options
  const failsClosed = failClosedAfter !== undefined
  const isAlgorithms = Array.isArray(algorithms) && algorithms.length > 0 &&
    algorithms.every(algorithm => allAlgorithms.includes(algorithm))
  const isKnown = (name: string) => optionNames.has(name) || fastifyOptionNames.has(name)
  const unknownNames = Object.keys(options).filter(name => !isKnown(name))
  const requirements: Array<[isMet: boolean, problem: string]> = [
    [isIssuer(issuer), 'issuer must be an http or https URL without a trailing slash, query or fragment,' +
      ' exactly as the tokens name it in "iss"'],
    [isText(audience), 'audience must be a string that is not empty, as the tokens name it in "aud"'],
    [discoveryUrl === undefined || isBaseUrl(discoveryUrl),
      'discoveryUrl must be an http or https URL without a query or fragment'],
    [(clientId === undefined) === (clientSecret === undefined),
      'clientId and clientSecret must be set together'],
    [clientId === undefined || isText(clientId), 'clientId must be a string that is not empty'],
    [clientSecret === undefined || isText(clientSecret), 'clientSecret must be a string that is not empty'],
    [isAlgorithms, `algorithms must be some of ${allAlgorithms.join(', ')}`],
    [isBetween(clockTolerance, 0, 60), 'clockTolerance must be 0 to 60 seconds'],
    [Number.isInteger(cacheSize) && isBetween(cacheSize, 0, 10_000_000),
      'cacheSize must be a number of tokens, 0 to 10000000'],
    [isBetween(feedTimeout, 1, 3_600), 'feedTimeout must be 1 to 3600 seconds'],
    [!failsClosed || isBetween(failClosedAfter, feedTimeout, 86_400),
      'failClosedAfter must be at least feedTimeout, and at most 86400 seconds'],
    [!failsClosed || clientId !== undefined,
      'failClosedAfter needs clientId and clientSecret, because without them no feed is followed']
  ]
  const problems = [
    ...unknownNames.map(name => `"${name}" is not an option`),
    ...requirements.flatMap(([isMet, problem]) => isMet ? [] : [problem])
  ]
  if (problems.length > 0) throw new Error(`latchkey/verifier: ${problems.join('; ')}`)

  const hasCredentials = clientId !== undefined && clientSecret !== undefined
  const credentials = hasCredentials ? { id: clientId, secret: clientSecret } : undefined
  return {
    issuer,
    audience,
    discoveryUrl: (discoveryUrl ?? issuer).replace(/\/+$/, ''),
    credentials,
    algorithms: [...algorithms],
    clockTolerance,
    cacheSize,
    feedTimeout,
    failClosedAfter
  }
}

const isText = (value: unknown) => typeof value === 'string' && value !== ''
const isBetween = (value: unknown, min: number, max: number) =>
  typeof value === 'number' && value >= min && value <= max

const isIssuer = (value: unknown) => isBaseUrl(value) && !value.endsWith('/')

function isBaseUrl (value: unknown): value is string {
  if (typeof value !== 'string' || !URL.canParse(value)) return false
  const { protocol, username, password } = new URL(value)
  const hasCredentials = username !== '' || password !== ''
  return ['https:', 'http:'].includes(protocol) && !hasCredentials && !/[?#\s]/.test(value)
}
