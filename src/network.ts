import { isIP, SocketAddress } from 'node:net'

/**
 * The IP address in what a socket or a proxy names as its peer, without brackets, port and zone; undefined where
 * there is none (proxies may write `unknown`, RFC 7239 section 6).
 */
export function addressOf (peer: string | undefined): string | undefined {
  const [, bracketed, v4] = /^(?:\[([^\]]*)\](?::\d+)?|([\d.]+):\d+)$/.exec(peer ?? '') ?? []
  const [address = ''] = (bracketed ?? v4 ?? peer ?? '').split('%')
  return isIP(address) === 0 ? undefined : address
}

/**
 * The network that limits and queues count as one party: an IPv4 address, also one written as IPv6 (RFC 4291 section
 * 2.5.5.2), or the /64 that an IPv6 host may choose its addresses in. Undefined where the peer has no address.
 */
export function networkOf (peer: string | undefined): string | undefined {
  const given = addressOf(peer)
  if (given === undefined || isIP(given) === 4) return given
  const { address } = new SocketAddress({ address: given, family: 'ipv6' })
  const [, v4] = /^::ffff:([\d.]+)$/.exec(address) ?? []
  if (v4 !== undefined) return v4
  const [front = [], back = []] = address.split('::').map(part => part.split(':').filter(Boolean))
  const zeros = Array<string>(8 - front.length - back.length).fill('0')
  return `${[...front, ...zeros, ...back].slice(0, 4).join(':')}::/64`
}
