import { Resolver } from 'node:dns/promises'
import { isIP } from 'node:net'
import ipaddr from 'ipaddr.js'
import type { Trust } from '../config/config.ts'
import { addressOf, parseAddress } from '../http/client-network.ts'

/** Returns the addresses of a host. */
export type Resolve = (host: string) => Promise<string[]>

export interface DestinationOptions {
  /** Addresses that webhooks may have although they are not public. */
  privateNetworks: Trust | undefined
  /** Whether public addresses must be reached over TLS. */
  requiresHttps: boolean
  /** How hosts are resolved, by DNS unless given. */
  resolve?: Resolve
}

export interface HostAddress { address: string, family: 4 | 6 }

/**
 * Where webhooks may be: on the internet, and in the networks that the operator allows. It keeps
 * administrators from reaching internal services through this one (server-side request forgery).
 */
export interface Destination {
  /** Why a URL is refused, as far as the URL itself tells. */
  refusal: (url: string) => string | undefined
  /**
   * The allowed ones among the current addresses of a URL's host. The connection must go to one of these,
   * because the name may resolve to another address a moment later (DNS rebinding). Throws an UnreachableHost
   * without any.
   */
  addresses: (url: string) => Promise<HostAddress[]>
}

/** A host that has no address, or no allowed one. */
export class UnreachableHost extends Error {
  readonly error: 'unresolved' | 'private_address'
  constructor (error: 'unresolved' | 'private_address', cause?: unknown) {
    super(error, { cause })
    this.error = error
  }
}

/** The only global unicast addresses of IPv6 so far. The rest is reserved (RFC 4291 section 2.4). */
const globalUnicast = ipaddr.IPv6.parseCIDR('2000::/3')

/**
 * Whether an address is on the internet. The library knows IANA's special-purpose registries (RFC 6890):
 * private, shared, link-local and documentation ranges, and those that embed an IPv4 address (6to4, Teredo,
 * NAT64).
 */
export function isPublic (given: string): boolean {
  const address = parseAddress(given)
  return address?.range() === 'unicast' && (address instanceof ipaddr.IPv4 || address.match(globalUnicast))
}

const dnsTimeoutMs = 2_000

/**
 * DNS without the operating system's resolver, which shares a few threads with hashing and cannot be aborted.
 */
const resolveByDns: Resolve = async host => {
  const resolver = new Resolver({ timeout: dnsTimeoutMs, tries: 2 })
  const [v4, v6] = await Promise.allSettled([resolver.resolve4(host), resolver.resolve6(host)])
  if (v4.status === 'rejected' && v6.status === 'rejected') throw v4.reason
  return [v4, v6].flatMap(result => result.status === 'fulfilled' ? result.value : [])
}

// The URL parser has already brought every spelling of an address into one form, such as 127.1 and ①②⑦.
const hostOf = (hostname: string) => hostname.replace(/^\[(.*)\]$/, '$1').replace(/\.$/, '')

/** The addresses of a host that is an address itself, or a name of this machine (RFC 6761 section 6.3). */
function literalAddresses (host: string): string[] | undefined {
  if (isIP(host) !== 0) return [host]
  return /^(.*\.)?localhost$/.test(host) ? ['127.0.0.1', '::1'] : undefined
}

const privateNetwork = 'must not be in a private network (WEBHOOK_PRIVATE_NETWORKS allows some)'

/** The destinations that the options allow. */
export function createDestination (options: DestinationOptions): Destination {
  const { privateNetworks, requiresHttps, resolve = resolveByDns } = options
  const isPrivateAllowed = (address: string) => privateNetworks?.(addressOf(address)) === true
  const isAllowed = (protocol: string, address: string) =>
    isPrivateAllowed(address) || (isPublic(address) && !(requiresHttps && protocol === 'http:'))

  function refusal (url: string): string | undefined {
    if (!URL.canParse(url)) return 'must be a URL'
    const { protocol, hostname, username, password } = new URL(url)
    if (protocol !== 'https:' && protocol !== 'http:') return 'must be an https URL'
    if (username + password !== '') return 'must not contain a user or a password: deliveries are signed'
    const addresses = literalAddresses(hostOf(hostname))
    if (addresses?.some(address => isAllowed(protocol, address))) return undefined
    // A name may turn out to be in an allowed private network, where http is fine.
    const isSurelyPublic = addresses?.some(isPublic) ?? privateNetworks === undefined
    if (protocol === 'http:' && requiresHttps && isSurelyPublic) return 'must be an https URL'
    return addresses ? privateNetwork : undefined
  }

  async function resolveHost (host: string): Promise<string[]> {
    try {
      return await resolve(host)
    } catch (error) {
      throw new UnreachableHost('unresolved', error)
    }
  }

  return {
    refusal,
    async addresses (url) {
      const { protocol, hostname } = new URL(url)
      const host = hostOf(hostname)
      const found = literalAddresses(host) ?? await resolveHost(host)
      if (found.length === 0) throw new UnreachableHost('unresolved')
      const allowed = found.filter(address => isAllowed(protocol, address))
      if (allowed.length === 0) throw new UnreachableHost('private_address')
      return allowed.map(address => ({ address, family: isIP(address) === 6 ? 6 : 4 }))
    }
  }
}
