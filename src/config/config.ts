import { readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { parseEnv } from 'node:util'
import { isLoopback, isPatterned, isPrivate } from './values.ts'
import { variables, type Variable } from './variables.ts'

export type { Rate, Trust } from './values.ts'

/** Where the embedded database and the development key are kept. */
export const dataFolder = '.data'

type Name = keyof typeof variables
type Values = { [N in Name]: ReturnType<(typeof variables)[N]['parse']> | (undefined extends (typeof variables)[N]['preset'] ? undefined : never) }
export type Environment = Record<string, string | undefined>

/** Everything that is wrong with the configuration, at once. */
export class ConfigError extends Error {
  readonly problems: string[]
  constructor (problems: string[]) {
    super('The configuration is not usable:\n' + problems.map(problem => `  - ${problem}`).join('\n'))
    this.name = 'ConfigError'
    this.problems = problems
  }
}

/** The exit code of a process that this ends. */
export const exitCode = (error: unknown) => error instanceof ConfigError ? 78 : 1

export type Config = ReturnType<typeof load>

/**
 * The configuration of an environment, frozen; durations are in seconds.
 * Throws a ConfigError that names every problem.
 */
export function load (environment: Environment) {
  const problems: string[] = []
  const value = <N extends Name>(name: N): Values[N] => {
    const { parse, preset, secret }: Variable<unknown> = variables[name]
    try {
      const text = (secret ? read(environment, name) : environment[name]?.trim()) || preset
      return (text === undefined ? undefined : parse(text)) as Values[N]
    } catch (error) {
      problems.push(`${name} ${error instanceof Error ? error.message : String(error)}`)
      return undefined as Values[N]
    }
  }
  const v = Object.fromEntries(Object.keys(variables).map(name => [name, value(name as Name)])) as Values
  const production = v.NODE_ENV === 'production'

  if (production) {
    if (!v.DATABASE_URL && !named(problems, 'DATABASE_URL')) problems.push('DATABASE_URL is required in production: the embedded PostgreSQL is for development')
    if (!v.KEY_ENCRYPTION_KEY && !named(problems, 'KEY_ENCRYPTION_KEY')) problems.push('KEY_ENCRYPTION_KEY is required in production (make one with: openssl rand -base64 32)')
    if (v.ISSUER_URL && !v.ISSUER_URL.startsWith('https:')) problems.push('ISSUER_URL must be https in production')
    if (v.BREACHED_PASSWORDS_URL && !isPrivate(v.BREACHED_PASSWORDS_URL)) problems.push('BREACHED_PASSWORDS_URL must be https in production, unless it is of this very host')
    if (v.REQUIRE_EMAIL_VERIFICATION && !v.SMTP_URL && !named(problems, 'SMTP_URL')) problems.push('SMTP_URL is required in production with REQUIRE_EMAIL_VERIFICATION: nobody could prove an address')
    if (v.LINKS_URL && !isPrivate(v.LINKS_URL)) problems.push('LINKS_URL must be https in production')
    if (v.HOME_URL && !isPrivate(v.HOME_URL)) problems.push('HOME_URL must be https in production')
    if (v.KEY_ENCRYPTION_KEY?.some(isPatterned)) {
      problems.push('KEY_ENCRYPTION_KEY has a pattern and can be guessed (make one with: openssl rand -base64 32)')
    }
    // The weakest combination that OWASP's Password Storage Cheat Sheet accepts is 7 MiB in 5 passes.
    if (v.ARGON2_MEMORY_KIB < 7168 || v.ARGON2_MEMORY_KIB * v.ARGON2_TIME_COST < 7168 * 5) problems.push('ARGON2_MEMORY_KIB and ARGON2_TIME_COST are below what OWASP accepts (19456 and 2, 12288 and 3, 9216 and 4, 7168 and 5)')
  }
  if (v.SMTP_URL && !v.MAIL_FROM && !named(problems, 'MAIL_FROM')) problems.push('MAIL_FROM is required with SMTP_URL')
  if (v.METRICS_PORT !== undefined && v.METRICS_PORT === v.PORT) problems.push('METRICS_PORT must be another than PORT')
  if (v.DATABASE_PASSWORD && !v.DATABASE_URL && !named(problems, 'DATABASE_URL')) problems.push('DATABASE_PASSWORD is of no use without DATABASE_URL')
  if (v.ISSUER_URL?.startsWith('https:')) {
    // Pages of a packaged application have a loopback origin. Any other http page can be changed in transit.
    const exposed = v.CORS_ORIGINS?.filter(each => each.startsWith('http:') && !isLoopback(new URL(each).hostname)) ?? []
    if (exposed.length > 0) {
      problems.push('CORS_ORIGINS must be https if ISSUER_URL is, except for localhost and loopback addresses: ' +
        exposed.join(', '))
    }
  }
  if (v.DATABASE_OWNER_URL && !v.DATABASE_URL && !named(problems, 'DATABASE_URL')) {
    problems.push('DATABASE_OWNER_URL is of no use without DATABASE_URL')
  }
  if (v.DATABASE_OWNER_PASSWORD && !v.DATABASE_OWNER_URL && !named(problems, 'DATABASE_OWNER_URL')) {
    problems.push('DATABASE_OWNER_PASSWORD is of no use without DATABASE_OWNER_URL')
  }
  if (problems.length > 0) throw new ConfigError(problems)

  return freeze({
    production,
    issuer: v.ISSUER_URL,
    serviceName: v.SERVICE_NAME,
    audience: v.AUDIENCE ?? v.ISSUER_URL,
    host: v.HOST,
    port: v.PORT,
    metrics: (v.METRICS ?? (production ? 'off' : 'public')) === 'public',
    metricsPort: v.METRICS_PORT,
    docs: v.DOCS === 'on',
    databaseUrl: withPassword(v.DATABASE_URL, v.DATABASE_PASSWORD),
    databaseOwnerUrl: withPassword(v.DATABASE_OWNER_URL, v.DATABASE_OWNER_PASSWORD),
    keyEncryptionKeys: v.KEY_ENCRYPTION_KEY,
    trustProxy: v.TRUST_PROXY,
    corsOrigins: v.CORS_ORIGINS,
    roles: v.ROLES,
    lifetimes: {
      accessToken: v.ACCESS_TOKEN_TTL,
      refreshToken: v.REFRESH_TOKEN_TTL,
      session: v.SESSION_TTL,
      rememberedSession: v.REMEMBERED_SESSION_TTL,
      replayGrace: v.REFRESH_REPLAY_GRACE,
      retryWindow: v.REFRESH_RETRY_WINDOW
    },
    sessionLimit: v.MAX_SESSIONS_PER_USER,
    revocationStaleLimit: v.REVOCATION_STALE_LIMIT,
    auditRetention: v.AUDIT_RETENTION,
    signing: { algorithm: v.SIGNING_ALGORITHM, rotation: v.SIGNING_KEY_ROTATION, jwksMaxAge: v.JWKS_MAX_AGE },
    passwords: {
      minLength: v.PASSWORD_MIN_LENGTH,
      memoryKib: v.ARGON2_MEMORY_KIB,
      timeCost: v.ARGON2_TIME_COST,
      parallelism: v.ARGON2_PARALLELISM,
      concurrency: v.ARGON2_CONCURRENCY ?? availableParallelism(),
      build: v.ARGON2_BUILD,
      pepper: v.PASSWORD_PEPPER,
      breachedPasswordsUrl: v.BREACHED_PASSWORDS_URL
    },
    rateLimit: v.RATE_LIMIT,
    throttle: { login: v.LOGIN_RATE_LIMIT, network: v.LOGIN_NETWORK_LIMIT, account: v.LOGIN_ACCOUNT_LIMIT },
    redisUrl: v.REDIS_URL,
    webhooks: { privateNetworks: v.WEBHOOK_PRIVATE_NETWORKS, httpsOnly: production },
    mail: { smtpUrl: v.SMTP_URL, smtpTls: v.SMTP_TLS, from: v.MAIL_FROM, templates: v.MAIL_TEMPLATES, linksUrl: v.LINKS_URL ?? v.ISSUER_URL },
    homeUrl: v.HOME_URL,
    requireEmailVerification: v.REQUIRE_EMAIL_VERIFICATION,
    links: { emailVerification: v.EMAIL_VERIFICATION_TTL, passwordReset: v.PASSWORD_RESET_TTL, magicLink: v.MAGIC_LINK_TTL, emailUndo: v.EMAIL_UNDO_TTL },
    migrateOnStart: v.MIGRATE_ON_START,
    requestTimeout: v.REQUEST_TIMEOUT,
    keepAliveTimeout: v.KEEP_ALIVE_TIMEOUT,
    drainDelay: v.DRAIN_DELAY ?? (production ? 5 : 0),
    shutdownTimeout: v.SHUTDOWN_TIMEOUT,
    logLevel: v.LOG_LEVEL
  })
}

/** Adds the password that is kept apart from a database's address to it. */
function withPassword (address: string | undefined, password: string | undefined): string | undefined {
  if (address === undefined || !password) return address
  const url = new URL(address)
  // The query also suits the URL of a socket, which has no place for a password, and wins over another one.
  url.searchParams.set('password', password)
  return url.href
}

/** The process's environment over the `.env` of its folder; in production there is no `.env`. */
export function environment (): Environment {
  if (process.env['NODE_ENV'] === 'production') return process.env
  try {
    return { ...parseEnv(readFileSync('.env', 'utf8').replace(/^\uFEFF/, '')), ...process.env }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return process.env
    throw new ConfigError([`.env cannot be read: ${String(error)}`])
  }
}

/** How many threads libuv has for this process's hashing, files and host names: what it reads itself, so not of `.env`. */
export function threads (): number {
  const text = process.env['UV_THREADPOOL_SIZE']
  return text === undefined ? 4 : Math.min(Math.max(Number.parseInt(text) || 1, 1), 1024)
}

/** Does something while this process's environment has a variable, for a package that can be told in no other way. */
export function withVariable<T> (name: string, value: string, work: () => T): T {
  const before = process.env[name]
  process.env[name] = value
  try {
    return work()
  } finally {
    if (before === undefined) delete process.env[name]
    else process.env[name] = before
  }
}

function read (environment: Environment, name: string): string | undefined {
  const text = environment[name]?.trim()
  const file = environment[`${name}_FILE`]?.trim()
  if (!file) return text
  if (text) throw new Error(`and ${name}_FILE are both set: keep one`)
  let content
  try {
    content = readFileSync(file, 'utf8').trim()
  } catch (error) {
    // Without the name: it may be the secret itself, in the wrong variable.
    throw new Error(`cannot be read from the file that ${name}_FILE names: ${(error as NodeJS.ErrnoException).code}`)
  }
  if (content === '') throw new Error(`is empty in the file that ${name}_FILE names`)
  return content
}

const named = (problems: string[], name: string) => problems.some(problem => problem.startsWith(`${name} `))

function freeze<T extends object> (config: T): Readonly<T> {
  for (const part of Object.values(config)) if (Array.isArray(part) || (part && Object.getPrototypeOf(part) === Object.prototype)) Object.freeze(part)
  return Object.freeze(config)
}
