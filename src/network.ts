import { isIP } from 'node:net'

/**
 * The IP address in what a socket or a proxy names as its peer, without brackets, port and zone; undefined where
 * there is none (proxies may write `unknown`, RFC 7239 section 6).
 */
export function addressOf (peer: string | undefined): string | undefined {
  const [, bracketed, v4] = /^(?:\[([^\]]*)\](?::\d+)?|([\d.]+):\d+)$/.exec(peer ?? '') ?? []
  const [address = ''] = (bracketed ?? v4 ?? peer ?? '').split('%')
  return isIP(address) === 0 ? undefined : address
}
