/**
 * The name of a cookie of the service at this issuer. Over plain http it has the port, because cookies do not
 * keep the ports of a host apart: two services on `localhost` would overwrite each other's.
 */
export function cookieName (issuer: string, name: string): string {
  const { protocol, port } = new URL(issuer)
  return protocol === 'https:' ? `__Host-${name}` : `${name}_${port === '' ? '80' : port}`
}
