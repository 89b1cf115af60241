import { normalizeIP } from '@fastify/rate-limit'
import fc from 'fast-check'
import { addressOf, networkOf } from '../../src/http/client-network.ts'
import { scale } from '../support/soak.ts'
import { t } from '../support/test.ts'

t.test('the address of a peer', async t => {
  for (const peer of [
    '192.0.2.1', '192.0.2.1:443', '::ffff:192.0.2.1', '::FFFF:c000:201', '[::ffff:192.0.2.1]:443'
  ]) {
    t.equal(addressOf(peer), '192.0.2.1', peer)
  }
  for (const peer of ['2001:db8::1', '[2001:db8::1]:443', '2001:db8::1%eth0']) {
    t.equal(addressOf(peer), '2001:db8::1', peer)
  }
  for (const peer of [undefined, '', 'unknown']) t.equal(addressOf(peer), undefined)
})

t.test('the network of a peer', async t => {
  t.test('is an IPv4 address, also in its IPv6 form', async t => {
    for (const peer of [
      '192.0.2.1', '192.0.2.1:443', '::ffff:192.0.2.1', '::FFFF:c000:201', '0:0:0:0:0:ffff:192.0.2.1',
      '[::ffff:192.0.2.1]:443', '::ffff:192.0.2.1%eth0'
    ]) {
      t.equal(networkOf(peer), '192.0.2.1', peer)
    }
  })

  t.test('is the /64 of an IPv6 address in any spelling', async t => {
    for (const peer of [
      '2001:DB8:0:12::1', '2001:0db8:0000:0012:ffff:ffff:ffff:ffff', '2001:db8:0:12:0:0:192.0.2.1',
      '[2001:db8:0:12::2]:443', '2001:db8:0:12::%eth0'
    ]) {
      t.equal(networkOf(peer), '2001:db8:0:12::/64', peer)
    }
    for (const [peer, network] of Object.entries({
      '::': '0:0:0:0',
      '::1': '0:0:0:0',
      '1::': '1:0:0:0',
      '0:0:3::8': '0:0:3:0',
      '1:2:3:4:5:6:7:8': '1:2:3:4',
      '1::4:5:6:7:8': '1:0:0:4',
      '::2:3:4:5:6:7:8': '0:2:3:4',
      '::192.0.2.1': '0:0:0:0',
      '::0:192.0.2.1': '0:0:0:0'
    })) {
      t.equal(networkOf(peer), `${network}::/64`, peer)
    }
    t.not(networkOf('2001:db8:0:13::1'), networkOf('2001:db8:0:12::1'))
  })

  t.test('is undefined without an address', async t => {
    for (const peer of [
      undefined, '', 'unknown', '_hidden', 'localhost', '1.2.3', '2001:db8::/32', '::1::'
    ]) {
      t.equal(networkOf(peer), undefined, `${peer}`)
    }
  })

  t.test('groups addresses as @fastify/rate-limit does', async () => {
    const half = fc.array(
      fc.integer({ min: 0, max: 0xffff }).map(group => group.toString(16)),
      { minLength: 4, maxLength: 4 }
    )
    const near = fc
      .tuple(half, half, half)
      .map(([network, one, other]): [string, string] => [
        [...network, ...one].join(':'),
        [...network, ...other].join(':')
      ])
    const any = fc.oneof(fc.ipV4(), fc.ipV6())
    fc.assert(
      fc.property(
        fc.oneof(near, fc.tuple(any, any)),
        ([one, other]) => (networkOf(one) === networkOf(other)) === (normalizeIP(one) === normalizeIP(other))
      ),
      { numRuns: scale(2_000, 500) }
    )
  })
})
