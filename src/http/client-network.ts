import { isIP } from 'node:net'
import ipaddr from 'ipaddr.js'

type Address = ipaddr.IPv4 | ipaddr.IPv6

/** The peer's address without brackets, port and zone, and the same address parsed. */
function parsePeer (peer: string | undefined): { text: string, parsed: Address } | undefined {
  const [, bracketed, plain] = /^(?:\[([^\]]*)\](?::\d+)?|([\d.]+):\d+)$/.exec(peer ?? '') ?? []
  const [text = ''] = (bracketed ?? plain ?? peer ?? '').split('%')
  // The library also reads 0x7f.1 and 017.0.0.1, which no socket and no proxy writes.
  if (isIP(text) === 0) return undefined
  // It takes ::192.0.2.1 (IPv4-compatible, RFC 4291 section 2.5.5.1) for an IPv4-mapped address, unless a
  // zero shows.
  return { text, parsed: ipaddr.process(text.replace(/^::(?=\d+\.)/, '::0:')) }
}

/**
 * The IP address of a peer, as a socket or a proxy names it. An IPv4-mapped IPv6 address (RFC 4291 section
 * 2.5.5.2) is an IPv4 address. Undefined if the name holds no address: a proxy may write `unknown` (RFC 7239
 * section 6).
 */
export const parseAddress = (peer: string | undefined): Address | undefined => parsePeer(peer)?.parsed

/** The IP address of a peer in text, by the rules of `parseAddress`. IPv6 addresses keep their spelling. */
export function addressOf (peer: string | undefined): string | undefined {
  const found = parsePeer(peer)
  return found?.parsed instanceof ipaddr.IPv4 ? found.parsed.toString() : found?.text
}

/**
 * The network that rate limits and queues treat as one client: an IPv4 address, or the IPv6 /64 in which a
 * host can choose its addresses freely. Undefined if the peer has no address.
 */
export function networkOf (peer: string | undefined): string | undefined {
  const address = parseAddress(peer)
  if (address === undefined || address instanceof ipaddr.IPv4) return address?.toString()
  return `${address.parts.slice(0, 4).map(part => part.toString(16)).join(':')}::/64`
}
