import { relative } from 'node:path'
import { commandPrefix } from '../config/command-prefix.ts'
import type { Config } from '../config/config.ts'

export interface BannerOptions {
  config: Config
  version: string
  /** The folder and the version of the embedded database, if it is in use. */
  embedded: { dataDir: string, version: string } | undefined
  /** Whether the database has answered. */
  isDatabaseReachable: boolean
}

/** What a person needs to know after the start: a label and a text for each fact, and what to do next. */
export function banner (options: BannerOptions): string {
  const { config, version } = options
  const { issuer, docs, mail } = config
  const facts: Array<[label: string, text: string]> = [
    ['Service', issuer],
    ['Pages', `${issuer}/ (first steps, sign-in${mail.smtpUrl === undefined ? ', emails' : ''})`],
    ['API docs', docs ? `${issuer}/docs` : 'off (DOCS)'],
    ['Database', databaseText(options)],
    ['Mail', mail.smtpUrl === undefined
      ? 'shown here and on the start page; set SMTP_URL and MAIL_FROM to send it'
      : `sent through ${hostOf(mail.smtpUrl)}`]
  ]
  return [
    '',
    `  Latchkey ${version}${config.production ? '' : ', for development'}`,
    '',
    ...facts.map(([label, text]) => `  ${label.padEnd(10)}${text}`),
    '',
    '  Next: open the pages, or sign up with curl, as in README.md under "A first session".',
    `  ${administratorAdvice(options)}`,
    `    ${commandPrefix(config)}npx latchkey users create --email you@example.com --role user,admin`,
    '',
    '  Press Ctrl-C to stop.',
    '',
    ''
  ].join('\n')
}

// The command finds the database, and makes a link to the service, by its own environment.
function administratorAdvice ({ embedded, isDatabaseReachable }: BannerOptions): string {
  const place = embedded
    ? 'in another terminal, in this folder'
    : 'in another terminal, in this folder, with the same environment variables'
  const isReady = embedded !== undefined || isDatabaseReachable
  const start = `Create an administrator${isReady ? '' : ' once the database is reachable'}`
  return `${start} (${place}):`
}

function databaseText ({ config, embedded, isDatabaseReachable }: BannerOptions): string {
  if (embedded) {
    return `embedded PostgreSQL ${embedded.version} in ${shorten(embedded.dataDir)}; set DATABASE_URL to ` +
      'use your own'
  }
  const address = databaseAddress(config.databaseUrl ?? '')
  return isDatabaseReachable ? address : `${address} (not reachable yet)`
}

/** The host, port and name of a database, without the user and the password. */
export function databaseAddress (text: string): string {
  const url = new URL(text)
  const host = url.host || url.searchParams.get('host') || 'localhost'
  return `${host}${url.pathname}`
}

const hostOf = (text: string): string => new URL(text).host

/** A path under the current folder without that folder's own path. */
function shorten (path: string): string {
  const fromHere = relative(process.cwd(), path)
  return fromHere.startsWith('..') ? path : fromHere
}
