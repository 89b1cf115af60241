import { isLoopback, isPrivate } from './addresses.ts'
import { isPatterned } from './values.ts'
import type { VariableValues } from './variables.ts'

/**
 * The problems of values that are valid each by itself, but not together or not in production. `isReported`
 * says whether a variable already has a problem, because then its value is absent for that reason.
 */
export function combinationProblems (
  values: VariableValues, isReported: (name: string) => boolean
): string[] {
  const isMissing = (name: keyof VariableValues) => values[name] === undefined && !isReported(name)
  const problems = values.NODE_ENV === 'production' ? productionProblems(values, isMissing) : []
  const { METRICS_PORT: metricsPort, PORT: port } = values
  if (values.SMTP_URL && isMissing('MAIL_FROM')) problems.push('MAIL_FROM is required with SMTP_URL')
  problems.push(...smtpOauthProblems(values, isMissing))
  if (metricsPort !== undefined && metricsPort === port) {
    problems.push('METRICS_PORT must be another port than PORT')
  }
  if (values.DATABASE_PASSWORD && isMissing('DATABASE_URL')) {
    problems.push('DATABASE_PASSWORD has no effect without DATABASE_URL')
  }
  problems.push(...exposedOrigins(values))
  if (values.DATABASE_DIRECT_URL && isMissing('DATABASE_URL')) {
    problems.push('DATABASE_DIRECT_URL has no effect without DATABASE_URL')
  }
  if (values.DATABASE_OWNER_URL && isMissing('DATABASE_URL')) {
    problems.push('DATABASE_OWNER_URL has no effect without DATABASE_URL')
  }
  if (values.DATABASE_OWNER_PASSWORD && isMissing('DATABASE_OWNER_URL')) {
    problems.push('DATABASE_OWNER_PASSWORD has no effect without DATABASE_OWNER_URL')
  }
  return problems
}

function smtpOauthProblems (
  values: VariableValues, isMissing: (name: keyof VariableValues) => boolean
): string[] {
  const { SMTP_OAUTH_TOKEN_URL: tokenUrl, SMTP_URL: smtpUrl } = values
  const names = ['SMTP_OAUTH_CLIENT_ID', 'SMTP_OAUTH_CLIENT_SECRET'] as const
  if (tokenUrl === undefined) {
    return names.filter(name => values[name] !== undefined && isMissing('SMTP_OAUTH_TOKEN_URL'))
      .map(name => `${name} has no effect without SMTP_OAUTH_TOKEN_URL`)
  }
  const problems = names.filter(isMissing).map(name => `${name} is required with SMTP_OAUTH_TOKEN_URL`)
  if (!isPrivate(tokenUrl)) problems.push('SMTP_OAUTH_TOKEN_URL must be https, unless it is on this host')
  const { username = '', password = '' } = smtpUrl === undefined ? {} : new URL(smtpUrl)
  if (smtpUrl !== undefined && (username === '' || password !== '')) {
    problems.push('SMTP_URL must have a user and no password with SMTP_OAUTH_TOKEN_URL, ' +
      'such as smtp://login%40example.com@smtp.office365.com:587')
  }
  if (isMissing('SMTP_URL')) problems.push('SMTP_OAUTH_TOKEN_URL has no effect without SMTP_URL')
  return problems
}

function productionProblems (
  values: VariableValues, isMissing: (name: keyof VariableValues) => boolean
): string[] {
  const problems: string[] = []
  if (isMissing('DATABASE_URL')) {
    problems.push('DATABASE_URL is required in production: the embedded PostgreSQL is for development')
  }
  if (isMissing('KEY_ENCRYPTION_KEY')) {
    problems.push('KEY_ENCRYPTION_KEY is required in production (make one with: openssl rand -base64 32)')
  }
  if (isMissing('ISSUER_URL')) {
    problems.push('ISSUER_URL is required in production: the https origin that browsers and services reach')
  } else if (values.ISSUER_URL?.startsWith('http:')) {
    problems.push('ISSUER_URL must be https in production')
  }
  if (values.BREACHED_PASSWORDS_URL && !isPrivate(values.BREACHED_PASSWORDS_URL)) {
    problems.push('BREACHED_PASSWORDS_URL must be https in production, unless it is on this host')
  }
  if (values.REQUIRE_EMAIL_VERIFICATION && isMissing('SMTP_URL')) {
    problems.push('SMTP_URL is required in production with REQUIRE_EMAIL_VERIFICATION: ' +
      'without mails, users cannot verify their addresses')
  }
  for (const name of ['LINKS_URL', 'HOME_URL', 'SUPPORT_URL', 'PRIVACY_URL', 'TERMS_URL'] as const) {
    const url = values[name]
    if (url && !isPrivate(url)) problems.push(`${name} must be https in production`)
  }
  if (values.KEY_ENCRYPTION_KEY?.some(isPatterned)) {
    problems.push(
      'KEY_ENCRYPTION_KEY has a pattern and can be guessed (make one with: openssl rand -base64 32)'
    )
  }
  if (isWeak(values)) {
    problems.push('ARGON2_MEMORY_KIB and ARGON2_TIME_COST are below what OWASP accepts ' +
      '(19456 and 2, 12288 and 3, 9216 and 4, 7168 and 5)')
  }
  return problems
}

// The weakest combination that OWASP's Password Storage Cheat Sheet accepts is 7 MiB in 5 passes.
const minMemoryKib = 7_168
const minWorkKib = 5 * minMemoryKib
const isWeak = ({
  ARGON2_MEMORY_KIB: memoryKib, ARGON2_TIME_COST: passes
}: Pick<VariableValues, 'ARGON2_MEMORY_KIB' | 'ARGON2_TIME_COST'>) =>
  memoryKib < minMemoryKib || memoryKib * passes < minWorkKib

/** Pages of a packaged application have a loopback origin. Any other http page can be changed in transit. */
function exposedOrigins ({ ISSUER_URL: issuer, CORS_ORIGINS: origins = [] }: VariableValues): string[] {
  if (!issuer?.startsWith('https:')) return []
  const exposed = origins.filter(each => each.startsWith('http:') && !isLoopback(new URL(each).hostname))
  if (exposed.length === 0) return []
  return ['CORS_ORIGINS must be https if ISSUER_URL is, except for localhost and loopback addresses: ' +
    exposed.join(', ')]
}
