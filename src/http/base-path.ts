/** The path of an issuer, under which everything is served; empty if it has none. */
export const basePathOf = (issuer: string): string => new URL(issuer).pathname.replace(/\/$/, '')

// RFC 8414 section 3.1 puts the path of an issuer behind the name of the document.
const documents = ['/.well-known/oauth-authorization-server', '/.well-known/openid-configuration']

/**
 * Returns a function that maps the URL of a request to the URL of a route, which has no base path. What is
 * not under the base path stays as it is, because some proxies remove the base path, and health checks need
 * none.
 */
export function createPathMapping (issuer: string): (url: string) => string {
  const base = basePathOf(issuer)
  if (base === '') return url => url
  const mappings = [
    ...documents.map(document => ({ from: document + base, to: document, isExact: true })),
    { from: base, to: '', isExact: false }
  ]
  return url => {
    // RFC 9112 section 3.2.2: a request may name the whole URL.
    const [, authority = '', path = ''] = /^(https?:\/\/[^/?]*)?(.*)$/is.exec(url) ?? []
    for (const { from, to, isExact } of mappings) {
      if (!path.startsWith(from)) continue
      const rest = path.slice(from.length)
      if (rest !== '' && !rest.startsWith('?') && (isExact || !rest.startsWith('/'))) continue
      const mapped = to + rest
      return authority + (mapped.startsWith('/') ? mapped : `/${mapped}`)
    }
    return url
  }
}
