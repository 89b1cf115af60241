import type { Variable } from '../src/config/variable.ts'
import { variables } from '../src/config/variables.ts'

type Name = keyof typeof variables

const groups: Array<[title: string, names: Name[]]> = [
  ['Address and network', ['NODE_ENV', 'ISSUER_URL', 'HOST', 'PORT', 'TRUST_PROXY', 'CORS_ORIGINS', 'DOCS']],
  ['Database', [
    'DATABASE_URL', 'DATABASE_PASSWORD', 'DATABASE_DIRECT_URL', 'DATABASE_OWNER_URL',
    'DATABASE_OWNER_PASSWORD', 'MIGRATE_ON_START', 'IDLE_POLL_INTERVAL'
  ]],
  ['Keys and tokens', [
    'KEY_ENCRYPTION_KEY', 'AUDIENCE', 'TOKEN_CLAIMS', 'TOKEN_CLAIMS_NAMESPACE', 'ACCESS_TOKEN_TTL',
    'SIGNING_ALGORITHM', 'SIGNING_KEY_ROTATION', 'JWKS_MAX_AGE', 'REVOCATION_STALE_LIMIT'
  ]],
  ['Sessions', [
    'REFRESH_TOKEN_TTL', 'SESSION_TTL', 'REMEMBERED_SESSION_TTL', 'REFRESH_REPLAY_GRACE',
    'REFRESH_RETRY_WINDOW', 'MAX_SESSIONS_PER_USER'
  ]],
  ['Clients', ['REDIRECT_SCHEMES']],
  ['Accounts and roles', ['SERVICE_NAME', 'ROLES', 'REQUIRE_EMAIL_VERIFICATION', 'AUDIT_RETENTION']],
  ['Your brand', ['BRAND_NAME', 'BRAND_LOGO', 'BRAND_COLOR', 'SUPPORT_URL', 'PRIVACY_URL', 'TERMS_URL']],
  ['Mail and mailed links', [
    'SMTP_URL', 'SMTP_TLS', 'SMTP_OAUTH_TOKEN_URL', 'SMTP_OAUTH_CLIENT_ID', 'SMTP_OAUTH_CLIENT_SECRET',
    'SMTP_OAUTH_SCOPE', 'MAIL_FROM', 'MAIL_TEMPLATES', 'LINKS_URL', 'HOME_URL', 'EMAIL_VERIFICATION_TTL',
    'PASSWORD_RESET_TTL', 'MAGIC_LINK_TTL', 'EMAIL_UNDO_TTL'
  ]],
  ['Passwords', [
    'PASSWORD_MIN_LENGTH', 'BREACHED_PASSWORDS_URL', 'PASSWORD_PEPPER', 'ARGON2_MEMORY_KIB',
    'ARGON2_TIME_COST', 'ARGON2_PARALLELISM', 'ARGON2_CONCURRENCY', 'ARGON2_BUILD'
  ]],
  ['Rate limits', [
    'RATE_LIMIT', 'REDIS_URL', 'LOGIN_RATE_LIMIT', 'LOGIN_NETWORK_LIMIT', 'LOGIN_ACCOUNT_LIMIT'
  ]],
  ['Webhooks', ['WEBHOOK_PRIVATE_NETWORKS']],
  ['Timeouts and shutdown', ['REQUEST_TIMEOUT', 'KEEP_ALIVE_TIMEOUT', 'DRAIN_DELAY', 'SHUTDOWN_TIMEOUT']],
  ['Logs and metrics', ['LOG_LEVEL', 'LOG_FORMAT', 'METRICS', 'METRICS_PORT']]
]

/** The variables that no group has. They must be none. */
export function ungrouped (): string[] {
  const grouped = new Set<string>(groups.flatMap(([, names]) => names))
  return Object.keys(variables).filter(name => !grouped.has(name))
}

const marker = '<!-- Below this line the page is generated from src/config/variables.ts: ' +
  'npm run configuration -->\n'

/** The page with the tables of all variables in the place of those that it has below the marker. */
export function configurationPage (page: string): string {
  const [introduction = ''] = page.split(marker)
  return `${introduction}${marker}\n${groups.map(([title, names]) => section(title, names)).join('\n')}`
}

const section = (title: string, names: Name[]) =>
  `## ${title}\n\n| variable | default | what it does |\n| --- | --- | --- |\n${names.map(row).join('')}`

function row (name: Name): string {
  const { preset, unset, meaning, secret = false }: Variable<unknown> = variables[name]
  const value = preset === undefined ? unset : preset === '' ? 'none' : `\`${preset}\``
  const sentence = `${meaning.charAt(0).toUpperCase()}${meaning.slice(1)}.`.replace(/\.\.$/, '.')
  const file = secret ? ` It may be in a file: \`${name}_FILE\`.` : ''
  const cells = [`\`${name}\``, value ?? '', sentence + file]
  return `| ${cells.map(cell => cell.replaceAll('|', '\\|')).join(' | ')} |\n`
}
