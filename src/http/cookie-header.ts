// The package `cookie` keeps one value for each name. If a subdomain plants a second cookie of the same name
// (cookie tossing), all values must be tried.

/** The values of every cookie with this name in a `Cookie` header. */
export const cookieValues = (header: string | undefined, name: string): string[] =>
  (header ?? '').split(';').flatMap(pair => {
    const [key = '', ...value] = pair.split('=')
    // Only the white space of RFC 6265. Removing other characters would turn another name into this one, and
    // so defeat the prefix `__Host-`.
    return key.replace(/^[ \t]+|[ \t]+$/g, '') === name ? [value.join('=').trim()] : []
  })
