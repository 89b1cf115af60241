import { domainToASCII, domainToUnicode } from 'node:url'
import { forbiddenSchemes } from '../syntax/uri-scheme.ts'
import type { ApplicationType, ClientMetadata } from './metadata.ts'

/** What decides whether a redirect URI can be registered. */
export interface RedirectUriRules {
  applicationType: ApplicationType
  /** Whether web clients may use plain http on this machine. */
  isDevelopment: boolean
  /** The private-use schemes without a dot that the operator allows. */
  redirectSchemes: readonly string[]
}

export const maxUriLength = 2_048

// Registered URIs are compared byte for byte, and browsers are sent to them. So each URI must be written as
// browsers write it. A URI that they read in another way could lead to another host than its reader expects.
const uriCharacters = /^[\w!$&'()+,\-./:;=?@[\]~%]*$/
const malformedEncoding = /%(?![0-9A-Fa-f]{2})/
const absoluteUri = /^([A-Za-z][A-Za-z0-9+.-]*):(.*)$/
const webRemainder = /^\/\/([^/?]*)(?:[/?].*)?$/
const webAuthority = /^(\[[^\]]*\]|[^:[\]]+)(?::\d{1,5})?$/
// RFC 8252 section 7.1: a domain name of the application's owner in reverse order.
const reverseDomain = /^[a-z][a-z0-9+-]*(\.[a-z0-9+-]+)+$/

/** The only hosts that are this machine for a redirect (RFC 8252 section 7.3). */
const loopbackHosts = ['localhost', '127.0.0.1', '[::1]']

/** Why a redirect URI or a post-logout redirect URI cannot be registered; undefined if it can. */
export function redirectUriRefusal (uri: string, rules: RedirectUriRules): string | undefined {
  if (uri.length > maxUriLength) return `must have at most ${maxUriLength} characters`
  if (uri.includes('#')) return 'must not have a fragment'
  if (uri.includes('*')) return 'must not have a wildcard'
  if (!uriCharacters.test(uri)) {
    return 'must have only the characters of a URI (RFC 3986): percent-encode others, and write the host' +
      ' in its ASCII form'
  }
  if (malformedEncoding.test(uri)) return 'must have two hexadecimal digits after each %'
  const [, scheme, remainder = ''] = absoluteUri.exec(uri) ?? []
  if (scheme === undefined) return 'must be an absolute URI such as https://app.example.com/callback'
  if (forbiddenSchemes.includes(scheme.toLowerCase())) return `must not have the scheme ${scheme}:`
  if (scheme !== scheme.toLowerCase()) return 'must have its scheme in lower case'
  return scheme === 'https' || scheme === 'http'
    ? webUriRefusal(uri, remainder, rules)
    : privateUriRefusal(scheme, remainder, rules)
}

function webUriRefusal (uri: string, remainder: string, rules: RedirectUriRules): string | undefined {
  const [, authority = ''] = webRemainder.exec(remainder) ?? []
  if (authority === '') return 'must have // and a host after its scheme'
  if (authority.includes('@')) return 'must not have a user or a password'
  const [, host] = webAuthority.exec(authority) ?? []
  if (host === undefined || !URL.canParse(uri) || !hasReadableLabels(host)) {
    return 'must have a valid host and port'
  }
  const { hostname } = new URL(uri)
  if (hostname !== host) return `must have its host written as ${hostname}`
  if (host.endsWith('.')) return 'must not have a dot at the end of its host'
  if (uri.startsWith('https:')) return undefined
  const { applicationType, isDevelopment } = rules
  if (!loopbackHosts.includes(host)) return 'must use https: only localhost, 127.0.0.1 and [::1] can use http'
  if (applicationType === 'web' && !isDevelopment) {
    return 'must use https: in production, only native clients can use http on localhost'
  }
  return undefined
}

/** Whether each label in Punycode stands for a name (RFC 5890). Newer URL parsers allow others, too. */
function hasReadableLabels (host: string): boolean {
  if (!/(?:^|\.)xn--/.test(host)) return true
  const name = domainToUnicode(host)
  return !/(?:^|\.)xn--/.test(name) && domainToASCII(name) === host
}

function privateUriRefusal (
  scheme: string, remainder: string, { applicationType, redirectSchemes }: RedirectUriRules
): string | undefined {
  if (applicationType !== 'native') {
    return 'must use https: only native clients can have a scheme of their own'
  }
  if (!reverseDomain.test(scheme) && !redirectSchemes.includes(scheme)) {
    return 'must have a scheme with a domain name in reverse order, such as com.example.app:/callback' +
      ' (REDIRECT_SCHEMES allows others)'
  }
  if (!remainder.startsWith('/')) return `must have a path after its scheme, such as ${scheme}:/callback`
  if (/^\/\/[^/?]*@/.test(remainder)) return 'must not have a user or a password'
  return undefined
}

const loopbackUri = /^(http:\/\/(?:localhost|127\.0\.0\.1|\[::1\]))(?::([1-9]\d{0,4}))?((?:[/?][^]*)?)$/
const maxPort = 65_535

/** A loopback URI without its port; undefined for any other URI. */
function withoutPort (uri: string): string | undefined {
  const [, origin, port = '1', remainder] = loopbackUri.exec(uri) ?? []
  return origin === undefined || remainder === undefined || Number(port) > maxPort
    ? undefined
    : origin + remainder
}

/**
 * Whether a presented URI is a registered one, byte for byte. A native client listens on a port that the
 * operating system chooses, so for it the port of a loopback URI may differ (RFC 8252 section 7.3).
 */
function matches (
  applicationType: ApplicationType, registered: readonly string[], presented: string
): boolean {
  if (registered.includes(presented)) return true
  if (applicationType !== 'native') return false
  const portless = withoutPort(presented)
  return portless !== undefined && registered.some(uri => withoutPort(uri) === portless)
}

type RedirectingClient =
  Pick<ClientMetadata, 'application_type' | 'redirect_uris' | 'post_logout_redirect_uris'>

/** Whether an authorization response may go to this URI. */
export const matchRedirectUri = (
  { application_type: type, redirect_uris: uris }: Omit<RedirectingClient, 'post_logout_redirect_uris'>,
  presented: string
): boolean => matches(type, uris, presented)

/** Whether a user may be sent to this URI after the sign-out. */
export const matchPostLogoutRedirectUri = (
  { application_type: type, post_logout_redirect_uris: uris }: Omit<RedirectingClient, 'redirect_uris'>,
  presented: string
): boolean => matches(type, uris, presented)
