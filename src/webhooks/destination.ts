import { Resolver } from 'node:dns/promises'
import { isIP } from 'node:net'
import ipaddr from 'ipaddr.js'
import type { Trust } from '../config/config.ts'
import { addressOf, parseAddress } from '../http/client-network.ts'

/** Finds the addresses of a host. */
export type Resolve = (host: string) => Promise<string[]>

export interface DestinationOptions {
  /** Addresses that may be called although they are not public. */
  privateNetworks: Trust | undefined
  /** Whether public addresses are called over TLS alone. */
  httpsOnly: boolean
  /** The DNS unless it is given. */
  resolve?: Resolve
}

/** Where webhooks may be: on the internet, and in the networks that the operator allows. */
export interface Destination {
  /** Why nothing is sent to a URL, as far as the URL tells; undefined where nothing speaks against it. */
  refusal: (url: string) => string | undefined
  /** The addresses that may be called for a URL, of those that its host has now. Throws an UnreachableHost where there are none. */
  addresses: (url: string) => Promise<Array<{ address: string, family: 4 | 6 }>>
}

/** A host that has no address, or none that may be called. */
export class UnreachableHost extends Error {
  readonly error: 'unresolved' | 'private_address'
  constructor (error: 'unresolved' | 'private_address', cause?: unknown) {
    super(error, { cause })
    this.error = error
  }
}

/** The only IPv6 addresses that are global unicast (RFC 4291 section 2.4, IANA). What IANA may assign later is not. */
const globalUnicast = ipaddr.IPv6.parseCIDR('2000::/3')

/**
 * Whether an address is on the internet. The library knows IANA's special-purpose registries (RFC 6890): private,
 * shared, link-local and documentation ranges, and those that embed an IPv4 address (6to4, Teredo, NAT64).
 */
export function isPublic (given: string): boolean {
  const address = parseAddress(given)
  return address?.range() === 'unicast' && (address instanceof ipaddr.IPv4 || address.match(globalUnicast))
}

/** By DNS alone: the lookups of the operating system share few threads with hashing, and cannot be given up. */
const byDns: Resolve = async host => {
  const resolver = new Resolver({ timeout: 2_000, tries: 2 })
  const [v4, v6] = await Promise.allSettled([resolver.resolve4(host), resolver.resolve6(host)])
  if (v4.status === 'rejected' && v6.status === 'rejected') throw v4.reason
  return [v4, v6].flatMap(found => found.status === 'fulfilled' ? found.value : [])
}

// What a URL has as its host is in one form, however it was written: 127.1, 0x7f000001 and ①② are told by the parser.
const hostOf = (hostname: string) => hostname.replace(/^\[(.*)\]$/, '$1').replace(/\.$/, '')

/** The destinations that the options allow. */
export function destination ({ privateNetworks, httpsOnly, resolve = byDns }: DestinationOptions): Destination {
  const mayBeCalled = (protocol: string, address: string) =>
    privateNetworks?.(addressOf(address)) === true || (isPublic(address) && !(httpsOnly && protocol === 'http:'))

  // These names never are the DNS's (RFC 6761 section 6.3).
  const known = (host: string) => isIP(host) !== 0 ? [host] : /^(.*\.)?localhost$/.test(host) ? ['127.0.0.1', '::1'] : undefined

  function refusal (url: string): string | undefined {
    if (!URL.canParse(url)) return 'must be a URL'
    const { protocol, hostname, username, password } = new URL(url)
    if (protocol !== 'https:' && protocol !== 'http:') return 'must be an https URL'
    if (username + password !== '') return 'must have no user or password: deliveries are signed'
    const addresses = known(hostOf(hostname))
    if (addresses?.some(address => mayBeCalled(protocol, address))) return undefined
    if (protocol === 'http:' && httpsOnly && (addresses?.some(isPublic) ?? privateNetworks === undefined)) return 'must be an https URL'
    return addresses ? 'must not be in a private network (WEBHOOK_PRIVATE_NETWORKS allows some)' : undefined
  }

  return {
    refusal,
    async addresses (url) {
      const { protocol, hostname } = new URL(url)
      const host = hostOf(hostname)
      const found = known(host) ?? await resolve(host).catch((error: unknown) => { throw new UnreachableHost('unresolved', error) })
      if (found.length === 0) throw new UnreachableHost('unresolved')
      const allowed = found.filter(address => mayBeCalled(protocol, address))
      if (allowed.length === 0) throw new UnreachableHost('private_address')
      return allowed.map(address => ({ address, family: isIP(address) === 6 ? 6 : 4 }))
    }
  }
}
