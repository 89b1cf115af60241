import { getEventListeners, once } from 'node:events'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import ipaddr from 'ipaddr.js'
import { parseNetworks } from '../../src/config/addresses.ts'
import { createDestination, isPublic } from '../../src/webhooks/destination.ts'
import { post } from '../../src/webhooks/request.ts'
import { build } from '../support/app.ts'
import { t } from '../support/test.ts'
import { receiver } from '../support/webhook-receiver.ts'

const never = new AbortController().signal

// Every way to name this host, or one of a network that is nobody's business.
const forbidden = [
  '127.0.0.1', '127.1', '127.0.1', '2130706433', '0x7f000001', '0x7f.1', '017700000001', '0177.0.0.1',
  '127.0.0.1.', '%31%32%37.0.0.1', '127。0。0。1', '①②⑦.0.0.1', '127.255.255.254', '0.0.0.0', '0', '[::1]',
  '[::]', '[::ffff:127.0.0.1]', '[::ffff:7f00:1]', '[::127.0.0.1]', '[::72.82.47.234]',
  '[0:0:0:0:0:ffff:10.0.0.1]', '[::ffff:0:127.0.0.1]', '[64:ff9b::127.0.0.1]', '[64:ff9b:1::a00:1]',
  '[2002:7f00:1::]', '[2001::1]', '[fe80::1]', '[fec0::1]', '[fc00::1]', '[fd12:3456::1]', '[ff02::1]',
  '[2001:db8::1]', '[3fff::1]', '[100::1]', '[5f00::1]', '10.0.0.1', '172.16.0.1', '172.31.255.255',
  '192.168.1.1', '100.64.0.1', '169.254.169.254', '2852039166', '192.0.0.1', '192.0.2.1', '198.18.0.1',
  '198.51.100.1', '203.0.113.1', '224.0.0.1', '240.0.0.1', '255.255.255.255', 'localhost', 'LOCALHOST',
  'localhost.', 'a.localhost'
]

t.test('URLs in private networks, and URLs of other schemes, are refused', async t => {
  const { refusal } = createDestination({ privateNetworks: undefined, requiresHttps: true })
  for (const host of forbidden) t.match(refusal(`https://${host}/`), /private network/, host)
  for (const url of [
    'http://example.com/', 'http://93.184.215.14/', 'ftp://example.com/', 'file:///etc/passwd',
    'gopher://example.com/', 'unix:/run/postgresql', 'https://user:password@example.com/',
    'https://user@example.com/', '//example.com', 'x', ''
  ]) {
    t.type(refusal(url), 'string', url)
  }
  for (const url of [
    'https://example.com/', 'https://example.com:8443/a?b', 'https://93.184.215.14/',
    'https://[2606:2800:21f:cb07:6820:80da:af6b:8b2c]/', 'https://172.32.0.1/',
    'https://localhost.example.com/'
  ]) {
    t.equal(refusal(url), undefined, url)
  }
  t.equal(
    createDestination({ privateNetworks: undefined, requiresHttps: false }).refusal('http://example.com/'),
    undefined,
    'over http in development'
  )
})

t.test('networks that the operator allows are accepted, also over http', async t => {
  const { refusal, addresses } = createDestination({
    privateNetworks: parseNetworks('10.1.0.0/16, fd00::/8'),
    requiresHttps: true,
    resolve: async host => (host === 'orders.internal' ? ['10.1.2.3', '10.2.2.3'] : ['93.184.215.14'])
  })
  for (const url of [
    'http://10.1.2.3/', 'https://10.1.2.3:8080/', 'http://[fd00::1]/', 'http://[::ffff:10.1.2.3]/',
    'http://orders.internal/'
  ]) {
    t.equal(refusal(url), undefined, url)
  }
  for (const url of ['http://10.2.0.1/', 'http://127.0.0.1/', 'http://[fe80::1]/', 'http://93.184.215.14/']) {
    t.type(refusal(url), 'string', url)
  }
  t.strictSame(
    await addresses('http://orders.internal/'),
    [{ address: '10.1.2.3', family: 4 }],
    'and of the addresses of a host those alone'
  )
  await t.rejects(
    addresses('http://example.com/'),
    { message: 'private_address' },
    'but the internet not over http'
  )
})

t.test('nothing is sent to a name with a private address (DNS rebinding)', async t => {
  const listener = createServer().listen(0, '127.0.0.1')
  await once(listener, 'listening')
  let connections = 0
  listener.on('connection', socket => { connections++; socket.destroy() })
  t.teardown(() => listener.close())
  const { port } = listener.address() as AddressInfo

  await t.test('which it has from the start', async t => {
    for (const address of [
      '127.0.0.1', '::1', '::ffff:127.0.0.1', '::ffff:7f00:1', '10.0.0.1', '169.254.169.254', '0.0.0.0',
      'fe80::1%lo', 'nonsense', ''
    ]) {
      const leading = createDestination({
        privateNetworks: undefined,
        requiresHttps: false,
        resolve: async () => [address]
      })
      t.match(
        await post({ url: `http://rebound.example:${port}/`, headers: {}, body: '{}' }, leading, never),
        { error: 'private_address' },
        address
      )
    }
    t.match(
      await post(
        { url: `http://rebound.example:${port}/`, headers: {}, body: '{}' },
        createDestination({ privateNetworks: undefined, requiresHttps: false, resolve: async () => [] }),
        never
      ),
      { error: 'unresolved' }
    )
    for (const host of forbidden) {
      t.match(
        await post(
          { url: `http://${host}:${port}/`, headers: {}, body: '{}' },
          createDestination({ privateNetworks: undefined, requiresHttps: false }),
          never
        ),
        { error: 'private_address' },
        host
      )
    }
    t.equal(connections, 0)
  })

  await t.test('which it gets after the check', async t => {
    let asked = 0
    const rebinding = createDestination({
      privateNetworks: parseNetworks('127.0.0.2'),
      requiresHttps: false,
      resolve: async () => [asked++ === 0 ? '127.0.0.2' : '127.0.0.1']
    })
    t.match(
      await post({ url: `http://rebound.example:${port}/`, headers: {}, body: '{}' }, rebinding, never),
      { error: 'connection' },
      'it connects to what was checked, where nobody listens'
    )
    t.equal(asked, 1, 'and asks once')
    t.match(
      await post({ url: `http://rebound.example:${port}/`, headers: {}, body: '{}' }, rebinding, never),
      { error: 'private_address' }
    )
    t.equal(connections, 0)
  })
})

t.test('the connection goes to the checked address, and names the host', async t => {
  const inbox = await receiver(t)
  const leading = createDestination({
    privateNetworks: parseNetworks('127.0.0.1'),
    requiresHttps: false,
    resolve: async () => ['127.0.0.1']
  })
  const { port } = new URL(inbox.url)
  // A name that no other resolver knows (RFC 6761 section 6.4).
  t.match(await post({ url: `http://orders.invalid:${port}/`, headers: {}, body: '{}' }, leading, never), {
    status: 204,
    error: undefined
  })
  t.equal(inbox.requests[0]?.headers.host, `orders.invalid:${port}`)
})

t.test('the scheme of a URL can be in upper case', async t => {
  const inbox = await receiver(t)
  const { refusal, addresses } = createDestination({
    privateNetworks: parseNetworks('127.0.0.1'),
    requiresHttps: true
  })
  const [plain, secure] = [inbox.url.replace('http', 'HTTP'), inbox.url.replace('http', 'HTTPS')]
  for (const url of [plain, secure]) t.equal(refusal(url), undefined, url)
  t.match(await post({ url: plain, headers: {}, body: '{}' }, { refusal, addresses }, never), {
    status: 204,
    error: undefined
  })
  t.match(
    await post({ url: secure, headers: {}, body: '{}' }, { refusal, addresses }, never),
    { error: 'tls' },
    'and TLS is spoken'
  )
})

t.test('a name lookup ends with the attempt, and with the service', async t => {
  const closing = new AbortController()
  const silent = createDestination({
    privateNetworks: undefined,
    requiresHttps: false,
    resolve: async () => await new Promise(() => {})
  })
  const waiting = post({ url: 'https://silent.example/', headers: {}, body: '{}' }, silent, closing.signal)
  closing.abort()
  await t.rejects(waiting, { name: 'AbortError' })
})

t.test('finished attempts leave no listeners behind', async t => {
  const { signal } = new AbortController()
  const nowhere = createDestination({
    privateNetworks: undefined, requiresHttps: false, resolve: async () => []
  })
  for (let attempt = 0; attempt < 20; attempt++) {
    await post({ url: 'http://orders.invalid/', headers: {}, body: '{}' }, nowhere, signal)
  }
  t.equal(getEventListeners(signal, 'abort').length, 0)
  // What Node keeps at a signal of those that were made of it.
  const made = Object.getOwnPropertySymbols(signal).find(
    ({ description }) => description === 'kDependantSignals'
  )
  t.equal(made && Reflect.get(signal, made)?.size, undefined)
})

// IANA's special-purpose registries (RFC 6890), and what is outside of IPv6's global unicast space.
const specialRanges = [
  '0.0.0.0/8', '10.0.0.0/8', '100.64.0.0/10', '127.0.0.0/8', '169.254.0.0/16', '172.16.0.0/12',
  '192.0.0.0/24', '192.0.2.0/24', '192.31.196.0/24', '192.52.193.0/24', '192.88.99.0/24', '192.168.0.0/16',
  '192.175.48.0/24', '198.18.0.0/15', '198.51.100.0/24', '203.0.113.0/24', '224.0.0.0/4', '240.0.0.0/4',
  '::/3', '4000::/2', '8000::/1', '64:ff9b::/96', '64:ff9b:1::/48', '2001::/23', '2001:db8::/32', '2002::/16',
  '2620:4f:8000::/48', '3fff::/20', '5f00::/16', 'fc00::/7', 'fe80::/10', 'fec0::/10', 'ff00::/8'
]

t.test('special-purpose ranges are not public, and their neighbours are', async t => {
  const ends = (range: string) => range.includes(':')
    ? [ipaddr.IPv6.networkAddressFromCIDR(range), ipaddr.IPv6.broadcastAddressFromCIDR(range)]
    : [ipaddr.IPv4.networkAddressFromCIDR(range), ipaddr.IPv4.broadcastAddressFromCIDR(range)]
  for (const range of specialRanges) {
    for (const address of ends(range)) {
      t.notOk(isPublic(address.toString()), `${address} of ${range}`)
      if (address instanceof ipaddr.IPv4) {
        t.notOk(isPublic(address.toIPv4MappedAddress().toString()), `${address} mapped`)
      }
    }
  }
  const neighbours = [
    '1.0.0.0', '9.255.255.255', '11.0.0.0', '100.63.255.255', '100.128.0.0', '126.255.255.255', '128.0.0.0',
    '169.253.255.255', '169.255.0.0', '172.15.255.255', '172.32.0.0', '192.0.1.0', '192.167.255.255',
    '192.169.0.0', '198.17.255.255', '198.20.0.0', '223.255.255.255', '2001:200::', '2003::', '2000::',
    '3ffe:ffff::', '3fff:1000::'
  ]
  for (const address of neighbours) t.ok(isPublic(address), address)
})

t.test('addresses on the internet are public', async t => {
  for (const address of ['1.1.1.1', '::ffff:1.1.1.1', '2606:4700::1111', '2a00:1450::1']) {
    t.ok(isPublic(address), address)
  }
})

t.test('by default no webhook can be on this host', async t => {
  const { browser, sql } = await build(t)
  const admin = browser()
  const { body } = await admin.post('/v1/auth/register', {
    email: 'ada@example.com',
    password: 'correct horse of mine'
  })
  await sql("update users set roles = '{user,admin}' where id = $1", [body.user.id])
  admin.accessToken = (await admin.post('/v1/auth/refresh')).body.access_token
  for (const host of ['127.0.0.1:5432', 'localhost', '[::1]', '169.254.169.254']) {
    t.match(
      await admin.post('/v1/admin/webhooks', { url: `http://${host}/`, events: ['user.*'] }),
      { status: 400, body: { code: 'validation_failed', errors: [{ pointer: '/url' }] } },
      host
    )
  }
})
