// The package `cookie` keeps one value for each name. If a subdomain plants a second cookie of the same name
// (cookie tossing), all values must be tried.

/** The values of all cookies of this name in a `Cookie` header. */
export const cookieValues = (header: string | undefined, name: string): string[] =>
  (header ?? '').split(';').flatMap(pair => {
    const [key = '', ...value] = pair.split('=')
    // RFC 6265 trims spaces and tabs only. Other white space would turn another name into this one, and void
    // the guarantee of its prefix (`__Host-`).
    return key.replace(/^[ \t]+|[ \t]+$/g, '') === name ? [value.join('=').trim()] : []
  })
