import { availableParallelism } from 'node:os'
import { combinationProblems } from './combinations.ts'
import { ConfigError } from './config-error.ts'
import { readSecret, type Environment } from './environment.ts'
import { isLoopback } from './addresses.ts'
import { misspellingWarnings } from './misspellings.ts'
import type { Variable } from './variable.ts'
import { variables, type VariableValues, type VariableName } from './variables.ts'

/** The folder of the embedded database and of the development key. */
export const dataFolder = '.data'

export type { Logo } from './brand.ts'
export type { Trust } from './addresses.ts'
export type { Rate } from './values.ts'

export type Config = ReturnType<typeof load>

const defaultHost = '127.0.0.1'
const preferredPort = 3_000
/** The issuer of a service without a setting that changes it. */
export const defaultIssuer = `http://localhost:${preferredPort}`
const defaultDrainSeconds = 5

/**
 * The configuration of an environment, frozen. Durations are in seconds. Throws a ConfigError that names
 * every problem.
 */
export function load (environment: Environment) {
  const values = parseVariables(environment)
  const production = values.NODE_ENV === 'production'
  const issuer = values.ISSUER_URL ?? new URL(`http://localhost:${values.PORT || preferredPort}`).origin
  const isLocal = issuer.startsWith('http:') && isLoopback(new URL(issuer).hostname)

  return freeze({
    production,
    issuer,
    serviceName: values.SERVICE_NAME,
    brand: {
      name: values.BRAND_NAME ?? values.SERVICE_NAME,
      logo: values.BRAND_LOGO,
      color: values.BRAND_COLOR,
      supportUrl: values.SUPPORT_URL,
      privacyUrl: values.PRIVACY_URL,
      termsUrl: values.TERMS_URL
    },
    audience: values.AUDIENCE ?? issuer,
    host: values.HOST ?? defaultHost,
    isHostDefault: values.HOST === undefined,
    port: values.PORT,
    metrics: (values.METRICS ?? (production ? 'off' : 'public')) === 'public',
    metricsPort: values.METRICS_PORT,
    docs: values.DOCS === 'on',
    databaseUrl: withPassword(values.DATABASE_URL, values.DATABASE_PASSWORD),
    databaseDirectUrl: withPassword(values.DATABASE_DIRECT_URL, values.DATABASE_PASSWORD),
    databaseOwnerUrl: withPassword(values.DATABASE_OWNER_URL, values.DATABASE_OWNER_PASSWORD),
    idlePollInterval: values.IDLE_POLL_INTERVAL,
    keyEncryptionKeys: values.KEY_ENCRYPTION_KEY,
    trustProxy: values.TRUST_PROXY,
    corsOrigins: values.CORS_ORIGINS ?? [],
    // The development server of a frontend has a port of its own.
    allowLocalOrigins: values.NODE_ENV === 'development' && values.CORS_ORIGINS === undefined && isLocal,
    clients: { redirectSchemes: values.REDIRECT_SCHEMES, isDevelopment: !production },
    roles: values.ROLES,
    tokenClaims: { names: values.TOKEN_CLAIMS, namespace: values.TOKEN_CLAIMS_NAMESPACE ?? '' },
    lifetimes: {
      accessTokenSeconds: values.ACCESS_TOKEN_TTL,
      refreshTokenSeconds: values.REFRESH_TOKEN_TTL,
      sessionSeconds: values.SESSION_TTL,
      rememberedSessionSeconds: values.REMEMBERED_SESSION_TTL,
      replayGraceSeconds: values.REFRESH_REPLAY_GRACE,
      retryWindowSeconds: values.REFRESH_RETRY_WINDOW
    },
    sessionLimit: values.MAX_SESSIONS_PER_USER,
    revocationStaleLimit: values.REVOCATION_STALE_LIMIT,
    auditRetention: values.AUDIT_RETENTION,
    signing: {
      algorithm: values.SIGNING_ALGORITHM,
      rotationSeconds: values.SIGNING_KEY_ROTATION,
      jwksMaxAgeSeconds: values.JWKS_MAX_AGE
    },
    passwords: {
      minLength: values.PASSWORD_MIN_LENGTH,
      memoryKib: values.ARGON2_MEMORY_KIB,
      timeCost: values.ARGON2_TIME_COST,
      parallelism: values.ARGON2_PARALLELISM,
      concurrency: values.ARGON2_CONCURRENCY ?? availableParallelism(),
      build: values.ARGON2_BUILD,
      hasPepper: values.PASSWORD_PEPPER,
      breachedPasswordsUrl: values.BREACHED_PASSWORDS_URL
    },
    rateLimit: values.RATE_LIMIT,
    throttle: {
      login: values.LOGIN_RATE_LIMIT,
      network: values.LOGIN_NETWORK_LIMIT,
      account: values.LOGIN_ACCOUNT_LIMIT
    },
    redisUrl: values.REDIS_URL,
    webhooks: { privateNetworks: values.WEBHOOK_PRIVATE_NETWORKS, requiresHttps: production },
    mail: {
      smtpUrl: values.SMTP_URL,
      smtpTls: values.SMTP_TLS,
      smtpOauth: smtpOauth(values),
      from: values.MAIL_FROM,
      templates: values.MAIL_TEMPLATES,
      linksUrl: values.LINKS_URL ?? issuer
    },
    homeUrl: values.HOME_URL,
    requireEmailVerification: values.REQUIRE_EMAIL_VERIFICATION,
    links: {
      emailVerificationSeconds: values.EMAIL_VERIFICATION_TTL,
      passwordResetSeconds: values.PASSWORD_RESET_TTL,
      magicLinkSeconds: values.MAGIC_LINK_TTL,
      emailUndoSeconds: values.EMAIL_UNDO_TTL
    },
    migrateOnStart: values.MIGRATE_ON_START,
    requestTimeout: values.REQUEST_TIMEOUT,
    keepAliveTimeout: values.KEEP_ALIVE_TIMEOUT,
    drainDelay: values.DRAIN_DELAY ?? (production ? defaultDrainSeconds : 0),
    shutdownTimeout: values.SHUTDOWN_TIMEOUT,
    logLevel: values.LOG_LEVEL,
    logFormat: values.LOG_FORMAT ?? (production ? 'json' : undefined)
  })
}

/** The value of each variable. Throws a ConfigError with the problems of all of them. */
function parseVariables (environment: Environment): VariableValues {
  const problems: string[] = []
  const parse = <Name extends VariableName>(name: Name): VariableValues[Name] => {
    const { parse, preset, secret }: Variable<unknown> = variables[name]
    try {
      const text = (secret ? readSecret(environment, name) : environment[name]?.trim()) || preset
      assertNoServiceLink(text)
      return (text === undefined ? undefined : parse(text)) as VariableValues[Name]
    } catch (error) {
      problems.push(`${name} ${error instanceof Error ? error.message : String(error)}`)
      return undefined as VariableValues[Name]
    }
  }
  const names = Object.keys(variables) as VariableName[]
  const values = Object.fromEntries(names.map(name => [name, parse(name)])) as VariableValues
  const isReported = (name: string) => problems.some(problem => problem.startsWith(`${name} `))
  problems.push(...combinationProblems(values, isReported))
  // A required variable may be missing because its name is misspelled.
  if (problems.length > 0) throw new ConfigError([...problems, ...misspellingWarnings(environment)])
  return values
}

/** Throws if Kubernetes has set a variable, because a Service has the same name. */
function assertNoServiceLink (text: string | undefined): void {
  if (text === undefined || !/^(?:tcp|udp|sctp):\/\/[\d.:a-f[\]]+:\d+$/.test(text)) return
  throw new Error(`is ${text}, which Kubernetes sets for a Service with a matching name: ` +
    'set enableServiceLinks: false in the specification of the pod')
}

/** The client of XOAUTH2, of which `combinationProblems` has checked that it is complete. */
function smtpOauth (values: VariableValues) {
  const { SMTP_OAUTH_TOKEN_URL: tokenUrl, SMTP_OAUTH_SCOPE: scope } = values
  const { SMTP_OAUTH_CLIENT_ID: clientId, SMTP_OAUTH_CLIENT_SECRET: clientSecret } = values
  if (tokenUrl === undefined || clientId === undefined || clientSecret === undefined) return undefined
  return { tokenUrl, clientId, clientSecret, scope }
}

/** Adds a password to the URL of a database. */
function withPassword (address: string | undefined, password: string | undefined): string | undefined {
  if (address === undefined || !password) return address
  // The URL of a socket has no place for a password, but the query suits it too, and wins over another
  // password. A URL of several hosts is none to Node.js.
  return `${address}${address.includes('?') ? '&' : '?'}password=${encodeURIComponent(password)}`
}

function freeze<Settings extends object> (settings: Settings): Readonly<Settings> {
  for (const part of Object.values(settings)) {
    const isPlain = typeof part === 'object' && part !== null &&
      Object.getPrototypeOf(part) === Object.prototype
    if (Array.isArray(part) || isPlain) Object.freeze(part)
  }
  return Object.freeze(settings)
}
