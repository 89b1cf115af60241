import { parseNetworks, type Trust } from './addresses.ts'
import { splitList } from './values.ts'

const loopback = ['127.0.0.0/8', '::1']
const linklocal = ['169.254.0.0/16', 'fe80::/10']
const uniquelocal = ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', 'fc00::/7']

/** Names for ranges that the internet does not route. Those of Express, and `private` for all of them. */
const ranges = new Map([
  ['loopback', loopback],
  ['linklocal', linklocal],
  ['uniquelocal', uniquelocal],
  ['private', [...loopback, ...linklocal, ...uniquelocal]]
])

/** Parses the addresses of proxies: IP addresses, CIDR ranges and names of private ranges; `off` is none. */
export function parseProxies (text: string): Trust | undefined {
  const items = splitList(text)
  const blind = items.find(item => /^(\d+|true)$/i.test(item))
  if (blind !== undefined) {
    throw new Error(`must not be ${blind}: with a number of proxies or with \`true\`, a client that ` +
      'bypasses one of them could choose its own address. Name the addresses of the proxies, or use ' +
      '`private` for all private ranges')
  }
  return parseNetworks(items.flatMap(item => ranges.get(item) ?? item).join(','))
}
