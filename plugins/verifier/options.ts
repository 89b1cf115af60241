import { defaultClockToleranceSeconds } from './token-rules.ts'

/** The signature algorithms that Latchkey has. */
export type Algorithm = 'ES256' | 'EdDSA' | 'RS256'

const allAlgorithms: readonly Algorithm[] = ['ES256', 'EdDSA', 'RS256']

/** All durations are seconds. */
export interface VerifierOptions {
  /** The issuer, exactly as its tokens name it in `iss`: its origin, as a rule. */
  issuer: string
  /** The audience that tokens must be for (`aud`). */
  audience: string
  /** A client with the scope `revocations`: with it ended sessions are refused within a second, without it when their tokens expire. */
  clientId?: string | undefined
  clientSecret?: string | undefined
  /** The algorithms accepted; default: ES256, EdDSA and RS256. */
  algorithms?: readonly Algorithm[] | undefined
  /** By how much the issuer's clock and this one may differ, 0 to 60; default 5. */
  clockTolerance?: number | undefined
  /** How many verified tokens are remembered, about a kilobyte each; default 10,000, and 0 for none. */
  cacheSize?: number | undefined
  /** After how long without a byte the revocation feed counts as lost, at least 1; default 15, three of its heartbeats. */
  feedTimeout?: number | undefined
  /**
   * After how long without the revocation feed every token is answered 503, at least `feedTimeout`; 503 also until
   * the feed is followed for the first time. By default none is: tokens are then accepted until they expire.
   */
  failClosedAfter?: number | undefined
}

/** Checked options, with defaults. All durations are seconds. */
export interface VerifierSettings {
  issuer: string
  audience: string
  credentials: ClientCredentials | undefined
  algorithms: readonly Algorithm[]
  clockTolerance: number
  cacheSize: number
  feedTimeout: number
  failClosedAfter: number | undefined
}

export interface ClientCredentials { id: string, secret: string }

const optionNames: ReadonlySet<string> = new Set<keyof VerifierOptions>([
  'issuer', 'audience', 'clientId', 'clientSecret', 'algorithms', 'clockTolerance', 'cacheSize',
  'feedTimeout', 'failClosedAfter'
])
// Fastify takes these from the options of every plugin.
const fastifyOptionNames: ReadonlySet<string> = new Set(['prefix', 'logLevel', 'logSerializers'])

/** Checks the options and fills in the defaults. Throws an error that names every problem. */
export function checkOptions (options: VerifierOptions): VerifierSettings {
  const { issuer, audience, clientId, clientSecret, failClosedAfter } = options
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
    [isText(audience), 'audience must be a text, as the tokens name it in "aud"'],
    [(clientId === undefined) === (clientSecret === undefined), 'clientId and clientSecret go together'],
    [clientId === undefined || isText(clientId), 'clientId must be a text'],
    [clientSecret === undefined || isText(clientSecret), 'clientSecret must be a text'],
    [isAlgorithms, `algorithms must be some of ${allAlgorithms.join(', ')}`],
    [isBetween(clockTolerance, 0, 60), 'clockTolerance must be 0 to 60 seconds'],
    [Number.isInteger(cacheSize) && isBetween(cacheSize, 0, 10_000_000), 'cacheSize must be a count of tokens'],
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

function isIssuer (issuer: unknown): boolean {
  if (typeof issuer !== 'string' || issuer.endsWith('/') || !URL.canParse(issuer)) return false
  const { protocol, username, password } = new URL(issuer)
  const hasCredentials = username !== '' || password !== ''
  return ['https:', 'http:'].includes(protocol) && !hasCredentials && !/[?#\s]/.test(issuer)
}
