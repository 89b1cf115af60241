import { Resolver } from 'node:dns/promises'
import { BlockList, isIP } from 'node:net'
import type { Trust } from '../config/config.ts'
import { addressOf } from '../http/client-network.ts'

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

// IANA's special-purpose registries (RFC 6890). Of IPv6 only 2000::/3 is public, which leaves out loopback, local and
// multicast addresses, those that have an IPv4 one in them, and what a NAT64 translates.
const special = new BlockList()
for (const range of [
  '0.0.0.0/8', '10.0.0.0/8', '100.64.0.0/10', '127.0.0.0/8', '169.254.0.0/16', '172.16.0.0/12', '192.0.0.0/24', '192.0.2.0/24', '192.31.196.0/24',
  '192.52.193.0/24', '192.88.99.0/24', '192.168.0.0/16', '192.175.48.0/24', '198.18.0.0/15', '198.51.100.0/24', '203.0.113.0/24', '224.0.0.0/3',
  '2001::/23', '2001:db8::/32', '2002::/16', '2620:4f:8000::/48', '3fff::/20'
]) {
  const [network = '', bits] = range.split('/')
  special.addSubnet(network, Number(bits), isIP(network) === 6 ? 'ipv6' : 'ipv4')
}
const global = new BlockList()
global.addSubnet('2000::', 3, 'ipv6')

/** Whether an address is one of the internet. */
export function isPublic (given: string): boolean {
  const address = addressOf(given)
  if (address === undefined) return false
  return isIP(address) === 4 ? !special.check(address, 'ipv4') : global.check(address, 'ipv6') && !special.check(address, 'ipv6')
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
