import { forbiddenSchemes, schemeSyntax } from '../syntax/uri-scheme.ts'
import { parseUrl } from './addresses.ts'
import { splitList } from './values.ts'

// WebSocket connections and files are no origins of pages.
const schemesWithoutPages = ['ws:', 'wss:', 'ftp:', 'file:']

/**
 * Parses the origin of pages, as browsers write it into the header `Origin`: scheme, host and port. Packaged
 * applications and browser extensions have schemes of their own, such as `tauri://localhost`.
 */
export function parsePageOrigin (text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined
  const isWeb = url?.protocol === 'https:' || url?.protocol === 'http:'
  if (!url || (!isWeb && (url.host === '' || schemesWithoutPages.includes(url.protocol)))) {
    throw new Error('must be origins such as https://app.example.com or tauri://localhost')
  }
  assertOriginOnly(url)
  return isWeb ? url.origin : `${url.protocol}//${url.host}`
}

/** Parses the URL of the issuer: an origin of http or https, and perhaps a path. */
export function parseIssuer (text: string): string {
  const { origin, username, password, hostname, pathname, search, hash } = parseUrl(text, ['https:', 'http:'])
  const path = pathname.replace(/\/$/, '')
  const hasPlainPath = /^(\/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*$/.test(path)
  if (username + password + search + hash !== '' || hostname.includes('*') || !hasPlainPath) {
    throw new Error('must be an origin (scheme, host and port), perhaps with a path such as /auth')
  }
  return origin + path
}

function assertOriginOnly ({ username, password, hostname, pathname, search, hash }: URL): void {
  const isRoot = pathname === '/' || pathname === ''
  if (username + password + search + hash !== '' || !isRoot || hostname.includes('*')) {
    throw new Error('must be an origin (scheme, host and port) without a path or a wildcard')
  }
}

/** Parses private-use schemes of redirect URIs (RFC 8252 section 7.1), such as `myapp`. */
export function parseSchemes (text: string): string[] {
  const schemes = splitList(text)
  const isPrivate = (scheme: string) =>
    schemeSyntax.test(scheme) && !['http', 'https', ...forbiddenSchemes].includes(scheme)
  if (!schemes.every(isPrivate)) {
    throw new Error('must be schemes of your applications in lower case, without a colon, such as myapp')
  }
  return schemes
}
