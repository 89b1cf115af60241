import { consoleLog, type VerifierLog } from './log.ts'
import { allAlgorithms, type Algorithm, type VerifierOptions } from './options.ts'
import { defaultClockToleranceSeconds } from './token-rules.ts'

/** Checked options, with defaults. All durations are seconds. */
export interface VerifierSettings {
  issuer: string
  audience: string
  clients: readonly string[]
  /** Without a trailing slash. */
  discoveryUrl: string
  credentials: ClientCredentials | undefined
  algorithms: readonly Algorithm[]
  clockTolerance: number
  cacheSize: number
  feedTimeout: number
  failClosedAfter: number | undefined
  log: VerifierLog
}

export interface ClientCredentials { id: string, secret: string }

const optionNames: ReadonlySet<string> = new Set<keyof VerifierOptions>([
  'issuer', 'audience', 'clients', 'discoveryUrl', 'clientId', 'clientSecret', 'algorithms',
  'clockTolerance', 'cacheSize', 'feedTimeout', 'failClosedAfter', 'log'
])

const logMethods: ReadonlyArray<keyof VerifierLog> = ['debug', 'info', 'warn', 'error']

/** Checks the options and fills in the defaults. Throws an error that names every problem. */
export function checkOptions (options: VerifierOptions): VerifierSettings {
  const { issuer, audience, discoveryUrl, clientId, clientSecret, failClosedAfter } = options
  const { algorithms = allAlgorithms, cacheSize = 10_000, feedTimeout = 15, log = consoleLog } = options
  const { clockTolerance = defaultClockToleranceSeconds, clients = [] } = options
  const failsClosed = failClosedAfter !== undefined
  const isAlgorithms = Array.isArray(algorithms) && algorithms.length > 0 &&
    algorithms.every(algorithm => allAlgorithms.includes(algorithm))
  const unknownNames = Object.keys(options).filter(name => !optionNames.has(name))
  const requirements: Array<[isMet: boolean, problem: string]> = [
    [isIssuer(issuer), 'issuer must be an http or https URL without a trailing slash, query or fragment,' +
      ' exactly as the tokens name it in "iss"'],
    [isText(audience), 'audience must be a string that is not empty, as the tokens name it in "aud"'],
    [Array.isArray(clients) && clients.every(isText),
      'clients must be a list of client ids, as the tokens name them in "client_id"'],
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
      'failClosedAfter needs clientId and clientSecret, because without them no feed is followed'],
    [logMethods.every(name => typeof Object(log)[name] === 'function'),
      `log must have the methods ${logMethods.join(', ')}`]
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
    clients: [...clients],
    discoveryUrl: (discoveryUrl ?? issuer).replace(/\/+$/, ''),
    credentials,
    algorithms: [...algorithms],
    clockTolerance,
    cacheSize,
    feedTimeout,
    failClosedAfter,
    log
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
