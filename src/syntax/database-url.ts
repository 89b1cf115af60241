import { readFileSync } from 'node:fs'
import type { ClientConfig } from 'pg'
import { parseIntoClientConfig } from 'pg-connection-string'

/** Where a server of a database listens. The host of a Unix socket is the folder of the socket. */
export interface DatabaseHost { host: string, port: number }

/** What the URL of a database says. */
export interface DatabaseAddress {
  /** The servers, in the order in which they are tried. None means the driver's default. */
  hosts: DatabaseHost[]
  /** Milliseconds in which a connection must be made, from `connect_timeout`. */
  connectTimeoutMs: number | undefined
  /** The other parts, as the driver takes them. */
  options: ClientConfig
}

// Others, such as timeouts, would be sent in the startup packet, where a pooler refuses them.
const driverOptions =
  ['user', 'password', 'database', 'ssl', 'sslnegotiation', 'options', 'application_name'] as const
const notAUrl = 'must be a URL that begins with postgres:// or postgresql://'
const defaultPort = 5_432
const verifiedModes = ['allow', 'prefer', 'require', 'verify-ca']

/**
 * Parses the URL of a database as libpq does, with several hosts, folders of Unix sockets, and TLS. Every
 * sslmode but `disable` and `no-verify` verifies the certificate and the host's name. Throws an Error that
 * never repeats the URL, whose password may be in any part of it. `passwordVariable` is what it recommends.
 */
export function parse (text: string, passwordVariable = 'DATABASE_PASSWORD'): DatabaseAddress {
  const [, scheme, user, authority, path, query] =
    /^(postgres(?:ql)?:\/\/)([^/?#]*@)?([^/?#@]*)(\/[^?#]*)?(?:\?([^#]*))?$/i.exec(text) ?? []
  // In a URL without an @, no character of a password can be what was misread.
  const unreadable = /^postgres(ql)?:\/\/.*@/is.test(text)
    ? `cannot be read: percent-encode the password or use ${passwordVariable}`
    : notAUrl
  if (scheme === undefined) throw new Error(unreadable)
  const parameters = new URLSearchParams(query)
  const ownPort = parameters.get('port')
  const hosts = parseHosts(parameters.get('host') ?? authority ?? '', ownPort)
  if (!hosts || path?.includes('@') || !areParameters(query, path !== undefined)) {
    throw new Error(unreadable)
  }
  assertWritable(parameters.get('target_session_attrs'))
  const connectTimeoutMs = parseConnectTimeout(parameters.get('connect_timeout'))
  for (const name of ['host', 'port']) parameters.delete(name)
  normalizeTls(parameters)

  const options: ClientConfig = {}
  try {
    // URLs have one host, and it is no folder, so a placeholder stands for the hosts.
    const url = `${scheme}${user ?? ''}host${path ?? ''}?${parameters.toString()}`
    const config = parseIntoClientConfig(url)
    for (const name of driverOptions) {
      if (config[name] !== undefined && config[name] !== '') Object.assign(options, { [name]: config[name] })
    }
  } catch {
    throw new Error(unreadable)
  }
  return { hosts, connectTimeoutMs, options }
}

/** Parses `host:port,host:port`, or hosts and ports that are listed apart. */
function parseHosts (text: string, ports: string | null): DatabaseHost[] | undefined {
  if (text === '') return ports === null ? [] : undefined
  const listed = ports?.split(',') ?? []
  const hosts = text.split(',').map((item, index) => {
    const [, host, port = listed[index] ?? listed[0] ?? String(defaultPort)] =
      /^(\[[\da-f:.]+\]|\/.+|[^:/]+)(?::(\d*))?$/i.exec(item) ?? []
    if (host === undefined || !/^\d{0,5}$/.test(port)) return undefined
    return { host: decodeHost(host), port: Number(port || defaultPort) }
  })
  const known = hosts.filter(host => host !== undefined)
  return known.length === hosts.length && known.every(({ port }) => port > 0 && port < 65_536)
    ? known
    : undefined
}

const decodeHost = (host: string): string => decode(host.replace(/^\[(.+)\]$/, '$1')) ?? host

function decode (text: string): string | undefined {
  try {
    return decodeURIComponent(text)
  } catch {
    return undefined
  }
}

// A password with ? in it ends the host, and the rest of it and the real host look like parameters. A user or
// a password among the parameters may have an @, if no address can follow it.
const areParameters = (query: string | undefined, hasPath: boolean) =>
  (query ?? '').split('&').every(parameter =>
    parameter === '' || /^\w+=[^@]*$/.test(parameter) ||
    (hasPath && /^(user|password)=[^@]*@[^@/:]*$/.test(parameter)))

function assertWritable (attributes: string | null): void {
  if (attributes === null || ['any', 'read-write', 'primary'].includes(attributes)) return
  throw new Error('has a target_session_attrs that is not read-write, primary or any: ' +
    'Latchkey needs a server that it can write to')
}

function parseConnectTimeout (text: string | null): number | undefined {
  if (text === null || text === '0') return undefined
  if (!/^\d{1,3}$/.test(text)) {
    throw new Error('has a connect_timeout that is not a number of seconds below 1000')
  }
  return Number(text) * 1_000
}

/**
 * Makes the driver verify certificates in each sslmode that asks for TLS, as it does by itself with a warning
 * on stderr. Throws an Error if the file of a certificate cannot be read.
 */
function normalizeTls (parameters: URLSearchParams): void {
  const mode = parameters.get('sslmode')
  const usesSystem = parameters.get('sslrootcert') === 'system'
  // Without sslrootcert, Node.js verifies with the authorities that it knows.
  if (usesSystem) parameters.delete('sslrootcert')
  const isLibpqCompatible = parameters.get('uselibpqcompat') === 'true'
  const isVerified = mode !== null && !isLibpqCompatible && verifiedModes.includes(mode)
  if (usesSystem || isVerified) parameters.set('sslmode', 'verify-full')
  for (const name of ['sslrootcert', 'sslcert', 'sslkey']) {
    const file = parameters.get(name)
    if (file !== null) assertReadable(name, file)
  }
}

function assertReadable (name: string, file: string): void {
  try {
    readFileSync(file)
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'it is not a file'
    throw new Error(`names the file ${file} in ${name}, which cannot be read (${code}): ` +
      'correct the path, or make the file readable for the user of the service')
  }
}
