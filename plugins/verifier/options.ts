/** The signature algorithms that Latchkey has. */
export type Algorithm = 'ES256' | 'EdDSA' | 'RS256'

const known: readonly Algorithm[] = ['ES256', 'EdDSA', 'RS256']

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

/** Checked options, with defaults. */
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
// What Fastify itself takes from the options of any plugin.
const fastifys: ReadonlySet<string> = new Set(['prefix', 'logLevel', 'logSerializers'])

/** The settings that the options mean; throws an error that names every problem. */
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
