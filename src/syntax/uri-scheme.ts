/** The syntax of a URI scheme (RFC 3986 section 3.1), in lower case. */
export const schemeSyntax = /^[a-z][a-z0-9+.-]*$/

/** Schemes of redirect URIs that run code, or that lead to no application. */
export const forbiddenSchemes: readonly string[] = ['javascript', 'data', 'vbscript', 'file', 'blob', 'about']
