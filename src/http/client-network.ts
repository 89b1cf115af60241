import { isIP, SocketAddress } from 'node:net'

const canonical = (address: string) => new SocketAddress({ address, family: 'ipv6' }).address

/**
 * The IP address in what a socket or a proxy names as its peer, without brackets, port and zone; one of IPv4
 * also where it is written as IPv6 (RFC 4291 section 2.5.5.2). Undefined where there is none (proxies may
 * write `unknown`, RFC 7239 section 6).
 */
export function addressOf (peer: string | undefined): string | undefined {
  const [, bracketed, plain] = /^(?:\[([^\]]*)\](?::\d+)?|([\d.]+):\d+)$/.exec(peer ?? '') ?? []
  const [address = ''] = (bracketed ?? plain ?? peer ?? '').split('%')
  if (isIP(address) !== 6) return isIP(address) === 4 ? address : undefined
  const [, v4] = /^::ffff:([\d.]+)$/.exec(canonical(address)) ?? []
  return v4 ?? address
}

/**
 * The network that limits and queues count as one party: an IPv4 address, or the /64 that an IPv6 host may
 * choose its addresses in. Undefined where the peer has no address.
 */
export function networkOf (peer: string | undefined): string | undefined {
  const address = addressOf(peer)
  if (address === undefined || isIP(address) === 4) return address
  const [front = [], back = []] = canonical(address).split('::').map(part => part.split(':').filter(Boolean))
  const zeros = Array<string>(8 - front.length - back.length).fill('0')
  return `${[...front, ...zeros, ...back].slice(0, 4).join(':')}::/64`
}
