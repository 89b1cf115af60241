import addressparser from 'nodemailer/lib/addressparser'
import { isIP } from 'node:net'
import { parse as parseEmail } from '../syntax/email-address.ts'
import { parseUrl } from './addresses.ts'

// Parsers for the address to listen on, and for the mail server and Redis. No message repeats a URL, which
// may contain a password.

/** Parses an address to listen on: an IP address, also in brackets, or a host name. */
export function parseHost (text: string): string {
  const host = text.replace(/^\[(.*)\]$/, '$1')
  const label = '[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?'
  if (isIP(host) !== 0 || new RegExp(`^(?=.{1,253}$)${label}(?:\\.${label})*$`, 'i').test(host)) return host
  throw new Error(`must be an IP address or a host name, such as 127.0.0.1, 0.0.0.0 or [::]; it is "${text}"`)
}

/** Whether the user and the password of a URL are percent-encoded correctly. */
function hasReadableCredentials ({ username, password }: URL): boolean {
  try {
    decodeURIComponent(username + password)
    return true
  } catch {
    return false
  }
}

/** Parses the URL of a server, for which a password with special characters is the usual mistake. */
function parseServerUrl (text: string, protocols: [string, string]): URL {
  const [scheme = '', rest = ''] = text.split(/:\/\/(.*)/s)
  const delimiter = /[/?#]/.exec(rest)?.index ?? rest.length
  const isServer = protocols.includes(`${scheme.toLowerCase()}:`)
  if (isServer && (rest.lastIndexOf('@') > delimiter || /%(?![0-9a-f]{2})/i.test(rest))) {
    throw new Error('has a character in its user or password that a URL cannot contain: ' +
      'percent-encode it (/ is %2F, ? is %3F, # is %23, % is %25, @ is %40)')
  }
  return parseUrl(text, protocols)
}

/** Parses the URL of a mail relay, such as `smtps://user:password@mail.example.com`. */
export function parseSmtpUrl (text: string): string {
  const url = parseServerUrl(text, ['smtp:', 'smtps:'])
  const isComplete = url.hostname !== '' && ['', '/'].includes(url.pathname) && url.search + url.hash === ''
  if (isComplete && hasReadableCredentials(url)) return url.href
  throw new Error('must have a host, and may have a user and a password (percent-encoded) and a port')
}

/** Parses the URL of one Redis server, such as `redis://127.0.0.1:6379/1`. */
export function parseRedisUrl (text: string): string {
  const hosts = text.slice(text.lastIndexOf('@') + 1)
  if (/^rediss?[+-]?sentinel:|^sentinel:|^rediss?-?cluster:/i.test(text) || hosts.includes(',')) {
    throw new Error('must name one Redis server: Redis Sentinel and Redis Cluster are not supported')
  }
  const url = parseServerUrl(text, ['redis:', 'rediss:'])
  const isComplete = url.hostname !== '' && /^\/?\d{0,5}$/.test(url.pathname) && url.hash === '' &&
    /^(?:\?family=[046])?$/.test(url.search)
  if (isComplete && hasReadableCredentials(url)) return url.href
  throw new Error('must have a host, and may have a user and a password (percent-encoded), a port, ' +
    'the number of a database, and ?family=0, 4 or 6')
}

/** Parses a sender of mails: one mailbox (RFC 5322 section 3.4). */
export function parseSender (text: string): { name: string, address: string } {
  const [mailbox, ...others] = addressparser(text)
  const parsed = mailbox?.address === undefined ? undefined : parseEmail(mailbox.address)
  if (!mailbox || !parsed || others.length > 0 || /\p{C}/u.test(text)) {
    throw new Error('must be an address, or a name and an address in angle brackets, such as ' +
      'Example <login@example.com>; put a name with a comma into double quotes, and in an environment file ' +
      'the whole value into single quotes')
  }
  return { name: mailbox.name, address: parsed.address }
}
