import { BlockList, isIP } from 'node:net'
import { parse as parseDatabase } from '../syntax/database-url.ts'
import { splitList } from './values.ts'

// Parsers for URLs and network addresses. No message repeats the text, which may contain a password.

/** Parses a URL that has one of these protocols, such as `https:`. */
export function parseUrl (text: string, protocols: string[]): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (!url || !protocols.includes(url.protocol)) {
    throw new Error(
      `must be a URL that begins with ${protocols.map(protocol => protocol + '//').join(' or ')}`
    )
  }
  return url
}

const web = ['https:', 'http:']

/** Parses a URL of http or https, and returns it as browsers write it. */
export const parseWebUrl = (text: string): string => parseUrl(text, web).href

/** Parses the URL of a database. An error names `passwordVariable` as the other place for its password. */
export const parseDatabaseUrl = (passwordVariable: string) => (text: string): string => {
  parseDatabase(text, passwordVariable)
  return text
}

/** Parses the URL of the service for breached passwords. The prefix of a hash is appended to it. */
export function parseRangeUrl (text: string): string {
  const { username, password, hash, href } = parseUrl(text, web)
  if (username + password + hash !== '' || !/[/=]$/.test(href)) {
    throw new Error('must be a URL that ends with / or = (such as https://api.pwnedpasswords.com/range/), ' +
      'without a user or a fragment')
  }
  return href
}

/** Parses the URL of a folder of pages, and removes a slash at its end. */
export function parseBaseUrl (text: string): string {
  const { username, password, search, hash, href } = parseUrl(text, web)
  if (username + password + search + hash !== '') {
    throw new Error('must be a URL without a user, a query or a fragment')
  }
  return href.replace(/\/$/, '')
}

/** Whether a host, as URLs write it, is this machine. Browsers decide alike (RFC 6761 section 6.3). */
export const isLoopback = (host: string): boolean =>
  /^(.+\.)?localhost$/i.test(host) || /^127(\.\d{1,3}){3}$/.test(host) || host === '[::1]' || host === '::1'

/** Whether the traffic to a URL cannot be read or changed on the way. */
export function isPrivate (text: string): boolean {
  const { protocol, hostname } = new URL(text)
  return protocol === 'https:' || hostname === 'localhost' || hostname === '[::1]' ||
    /^127(\.\d+){3}$/.test(hostname)
}

/** Whether an IP address belongs to the configured ranges. A peer that has gone has no address. */
export type Trust = (address: string | undefined) => boolean

/** Parses IP addresses and CIDR ranges; `off` is none. */
export function parseNetworks (text: string): Trust | undefined {
  if (text === 'off') return undefined
  const trusted = new BlockList()
  for (const range of splitList(text)) addRange(trusted, range)
  return address => {
    const plain = (address ?? '').replace(/^::ffff:(?=\d+\.)/i, '')
    const family = isIP(plain)
    return family !== 0 && trusted.check(plain, family === 6 ? 'ipv6' : 'ipv4')
  }
}

function addRange (trusted: BlockList, range: string): void {
  const [address = '', bits, more] = range.split('/')
  const family = isIP(address) === 6 ? 'ipv6' : 'ipv4'
  const maxBits = family === 'ipv6' ? 128 : 32
  if (isIP(address) === 0 || more !== undefined) {
    throw new Error(`must be off, or addresses and CIDR ranges; ${range} is neither`)
  }
  if (bits !== undefined && (!/^\d+$/.test(bits) || Number(bits) > maxBits)) {
    throw new Error(`has a range with an invalid prefix length, ${range}`)
  }
  // The widest ranges of private addresses are 10.0.0.0/8, which is ::ffff:10.0.0.0/104, and fc00::/7.
  const minBits = /^::ffff:/i.test(address) ? 104 : family === 'ipv6' ? 7 : 8
  if (bits !== undefined && Number(bits) < minBits) {
    throw new Error(`has a range with too many addresses, ${range}; the shortest prefix is /${minBits}`)
  }
  trusted.addSubnet(address, bits === undefined ? maxBits : Number(bits), family)
}
