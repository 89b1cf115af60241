import { BlockList, isIP } from 'node:net'
import { parse as parseEmail } from '../syntax/email-address.ts'

// What the text of an environment variable may be. Each throws an Error that says what would do.

export const integer = (least: number, most: number) => (text: string) => {
  const number = Number(text)
  if (!/^\d+$/.test(text) || number < least || number > most) throw new Error(`must be a whole number from ${least} to ${most}`)
  return number
}

const seconds = { s: 1, m: 60, h: 3600, d: 86400 }
// Days that a timer of Node's can count: 2³¹ milliseconds are 24.8.
export const timer = 24
/** A span such as `15m`, in seconds. */
export const duration = (least = 1, most = 3650) => (text: string) => {
  const [, count, unit] = /^(\d{1,9})([smhd])$/.exec(text) ?? []
  const span = Number(count) * seconds[unit as keyof typeof seconds]
  if (!(span >= least) || span > most * seconds.d) throw new Error(`must be a time such as 30s, 15m, 12h or 7d, from ${least}s to ${most}d`)
  return span
}

export const boolean = (text: string) => {
  if (text !== 'true' && text !== 'false') throw new Error('must be true or false')
  return text === 'true'
}

export const oneOf = <const T extends string>(...words: T[]) => (text: string): T => {
  const word = words.find(word => word === text)
  if (word === undefined) throw new Error(`must be one of ${words.join(', ')}`)
  return word
}

export const list = (text: string) => text.split(',').map(part => part.trim()).filter(part => part !== '')

export const url = (text: string, protocols: string[]) => {
  const parsed = URL.canParse(text) ? new URL(text) : undefined
  if (!parsed || !protocols.includes(parsed.protocol)) throw new Error(`must be a URL that begins with ${protocols.map(protocol => protocol + '//').join(' or ')}`)
  return parsed
}

export const origin = (text: string) => {
  const { origin, username, password, hostname, pathname, search, hash } = url(text, ['https:', 'http:'])
  if (username + password + search + hash !== '' || pathname !== '/' || hostname.includes('*')) throw new Error('must be an origin (scheme, host and port) without a path or a wildcard')
  return origin
}

/** A name as people read it. */
export const title = (text: string) => {
  if (!/^[^\p{C}\p{Zl}\p{Zp}]{1,64}$/u.test(text)) throw new Error('must be 1 to 64 printable characters')
  return text
}

/** A URL to which something is appended. */
export const rangeUrl = (text: string) => {
  const { username, password, hash, href } = url(text, ['https:', 'http:'])
  if (username + password + hash !== '' || !/[/=]$/.test(href)) throw new Error('must be a URL that ends with / or = (such as https://api.pwnedpasswords.com/range/), without a user or a fragment')
  return href
}

/** Whether a host, as URLs write it, is this machine; browsers decide alike (RFC 6761 section 6.3). */
export const isLoopback = (host: string) =>
  /^(.+\.)?localhost$/i.test(host) || /^127(\.\d{1,3}){3}$/.test(host) || host === '[::1]' || host === '::1'

/** Whether nobody on the way to a URL can read or change what is exchanged with it. */
export const isPrivate = (text: string) => {
  const { protocol, hostname } = new URL(text)
  return protocol === 'https:' || hostname === 'localhost' || hostname === '[::1]' || /^127(\.\d+){3}$/.test(hostname)
}

export const rate = (text: string) => {
  if (text === 'off') return 'off' as const
  const [count = '', window = ''] = text.split('/')
  if (!/^[1-9]\d{0,8}$/.test(count) || text.split('/').length !== 2) throw new Error('must be off, or a count and a time such as 300/1m')
  return { count: Number(count), window: duration()(window) }
}
export type Rate = ReturnType<typeof rate>

/** A URL under which pages stand. */
export const base = (text: string) => {
  const { username, password, search, hash, href } = url(text, ['https:', 'http:'])
  if (username + password + search + hash !== '') throw new Error('must be a URL without a user, a query or a fragment')
  return href.replace(/\/$/, '')
}

export const smtp = (text: string) => {
  const { href, hostname, username, password, pathname, search, hash } = url(text, ['smtp:', 'smtps:'])
  try {
    decodeURIComponent(username + password)
    if (hostname !== '' && ['', '/'].includes(pathname) && search + hash === '') return href
  } catch {
    // Told below: the error may have the password in it.
  }
  throw new Error('must be a host, and where they are needed user and password (percent-encoded) and port')
}

/** Whom mails come from: an address, or a name before one in angle brackets. */
export const sender = (text: string) => {
  const [, name = '', address = text] = /^([^<>]*)<([^<>]+)>$/.exec(text) ?? []
  const parsed = parseEmail(address)
  if (!parsed || /[\p{C}"\\]/u.test(name)) throw new Error('must be an address, or a name and an address in angle brackets')
  return { name: name.trim(), address: parsed.address }
}

export const redis = (text: string) => {
  const { href, hostname, username, password, pathname, search, hash } = url(text, ['redis:', 'rediss:'])
  const isWhole = hostname !== '' && /^\/?\d{0,5}$/.test(pathname) && search + hash === ''
  try {
    decodeURIComponent(username + password)
    if (isWhole) return href
  } catch {
    // Told below: the error may have the password in it.
  }
  throw new Error('must be a host, and where they are needed user and password (percent-encoded), port and number of the database')
}

/** Whether an address is that of a trusted proxy. */
export type Trust = (address: string | undefined) => boolean
export const proxies = (text: string): Trust | undefined => {
  if (text === 'off') return undefined
  const trusted = new BlockList()
  for (const range of list(text)) {
    const [address = '', bits, more] = range.split('/')
    const family = isIP(address) === 6 ? 'ipv6' : 'ipv4'
    const most = family === 'ipv6' ? 128 : 32
    if (isIP(address) === 0 || more !== undefined) throw new Error(`must be off, or addresses and CIDR ranges; ${range} is neither`)
    if (bits !== undefined && (!/^\d+$/.test(bits) || Number(bits) > most)) throw new Error(`has a range of impossible length, ${range}`)
    // The widest ranges of private addresses are 10.0.0.0/8, which is ::ffff:10.0.0.0/104, and fc00::/7.
    const least = /^::ffff:/i.test(address) ? 104 : family === 'ipv6' ? 7 : 8
    if (bits !== undefined && Number(bits) < least) throw new Error(`must not trust half the world, as ${range} does`)
    trusted.addSubnet(address, bits === undefined ? most : Number(bits), family)
  }
  return address => {
    // A peer that has gone has no address.
    const plain = (address ?? '').replace(/^::ffff:(?=\d+\.)/i, '')
    const family = isIP(plain)
    return family !== 0 && trusted.check(plain, family === 6 ? 'ipv6' : 'ipv4')
  }
}

/** Whether a key of 32 bytes has a pattern that no random key has: few bytes, repetition or a constant step. */
export function isPatterned (key: Buffer): boolean {
  const hasPeriod = [1, 2, 3, 4, 5, 6, 7, 8].some(period => key.subarray(period).equals(key.subarray(0, -period)))
  const steps = new Set(key.subarray(1).map((byte, index) => byte - (key[index] ?? 0)))
  return hasPeriod || steps.size === 1 || new Set(key).size <= 4
}

export const keys = (text: string) => {
  const parts = list(text)
  const keys = parts.map(part => Buffer.from(part, 'base64'))
  const whole = keys.every((key, index) => key.length === 32 && key.toString('base64').replace(/=+$/, '') === parts[index]?.replace(/=+$/, ''))
  if (keys.length === 0 || !whole) throw new Error('must be 32 bytes in base64 (make one with: openssl rand -base64 32)')
  return keys
}
