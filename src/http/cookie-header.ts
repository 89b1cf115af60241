/** The values of every cookie of this name that a `Cookie` header has. */
export const cookieValues = (header: string | undefined, name: string): string[] => (header ?? '').split(';').flatMap(pair => {
  const [key = '', ...value] = pair.split('=')
  // As RFC 6265 has it: what else counts as white space would make another name this one, and void its prefix.
  return key.replace(/^[ \t]+|[ \t]+$/g, '') === name ? [value.join('=').trim()] : []
})
