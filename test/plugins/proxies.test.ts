import { readFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { load } from '../../src/config/config.ts'
import { build } from '../support/app.ts'
import { skip, startServer } from '../support/nginx.ts'
import { t } from '../support/test.ts'

const service = await build(t, {
  ISSUER_URL: 'https://auth.example.com', TRUST_PROXY: '127.0.0.1', RATE_LIMIT: '3/1m'
})
const html = { accept: 'text/html,application/xhtml+xml,*/*;q=0.8' }

t.test('the root of the service', async t => {
  t.test('answers health checks of any method', async t => {
    for (const path of ['/', '/favicon.ico', '/livez', '/readyz']) {
      for (const method of ['GET', 'HEAD', 'OPTIONS'] as const) {
        for (let i = 0; i < 5; i++) {
          const { status, headers } = await service.browser().send(method, path)
          t.equal(status, 200, `${method} ${path}`)
          t.notOk('ratelimit-limit' in headers)
        }
      }
    }
    const draining = await build(t, {}, { url: 'postgres://127.0.0.1:1/none', ready: false })
    t.match(await draining.browser().send('OPTIONS', '/readyz'), { status: 503 })
  })

  t.test('is a page for people, and JSON for programs', async t => {
    const page = await service.browser().get('/', html)
    t.match(page.headers, {
      'content-type': 'text/html; charset=utf-8',
      'content-security-policy': /default-src 'none'/,
      vary: /accept/
    })
    t.match(page.text, /<h1>Latchkey is running<\/h1>[^]*href="\/docs"/)
    t.match(await service.browser().get('/'), {
      body: {
        name: 'Latchkey',
        metadata: 'https://auth.example.com/.well-known/oauth-authorization-server',
        documentation: 'https://auth.example.com/docs'
      }
    })
    t.match(await service.browser().get('/favicon.ico'), { headers: { 'content-type': 'image/svg+xml' } })
    const named = await build(t, { DOCS: 'off', SERVICE_NAME: '<b>' }, { url: service.url })
    const { text } = await named.browser().get('/', html)
    t.match(text, /&lt;b&gt;/)
    t.notMatch(text, /<b>|\/docs/)
  })

  t.test('shows people a page if an address is not found, or refused', async t => {
    const { browser } = await build(t, { RATE_LIMIT: '4/1m' }, { url: service.url })
    const isPage = { 'content-type': 'text/html; charset=utf-8', 'cache-control': 'no-store' }
    const missing = await browser().get('/nothing', html)
    t.match(missing, { status: 404, headers: isPage })
    t.match(missing.text, missing.headers['x-request-id'])
    t.match(await browser().get('/nothing'), { status: 404, body: { code: 'not_found' } })
    t.match(await browser().post('/nothing', {}, html), { status: 404, body: { code: 'not_found' } })
    t.match(await browser().get('/problems/nothing', html), { status: 404, body: { code: 'not_found' } })
    t.match(await browser().get('/', html), { status: 200 })
    const refused = await browser().get('/nothing', html)
    t.match(refused, { status: 429, headers: { ...isPage, 'retry-after': /^\d+$/ } })
  })
})

t.test('a trusted proxy that reports plain http', async t => {
  const overHttp = { 'x-forwarded-proto': 'http' }
  for (const path of ['/livez', '/readyz', '/', '/favicon.ico']) {
    t.match(await service.browser().get(path, overHttp), { status: 200 }, `${path} is for probes`)
  }
  const { browser, logs } = await build(t, {
    ISSUER_URL: 'https://auth.example.com', TRUST_PROXY: '127.0.0.1'
  }, { url: service.url })
  for (let i = 0; i < 2; i++) {
    t.match(await browser().get('/v1/me', overHttp), { status: 403, body: { code: 'https_required' } })
  }
  const lines = logs.filter(({ header }) => header === 'x-forwarded-proto')
  t.match(lines, [{
    level: 40,
    value: 'http',
    peer: '127.0.0.1',
    msg: /X-Forwarded-Proto is "http" .* 127\.0\.0\.1.*TRUST_PROXY/
  }])
  t.equal(lines.length, 1, 'the log says it once')
})

t.test('nginx behind a balancer that terminates TLS passes on what it says', { skip }, async t => {
  const { app } = await build(t, {
    ISSUER_URL: 'https://auth.example.com', TRUST_PROXY: '127.0.0.1'
  }, { url: service.url })
  await app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = app.server.address() as AddressInfo
  const page = readFileSync('docs/deployment.md', 'utf8')
  const [, lines = ''] = /```nginx\n([^`]*\nmap [^`]*)```/.exec(page) ?? []
  const { base } = await startServer(t, {
    http: lines, locations: `location / { proxy_pass http://127.0.0.1:${port}; }`
  })
  const statusOf = async (headers: Record<string, string>) =>
    (await fetch(`${base}/openapi.json`, { headers })).status
  t.equal(await statusOf({ 'x-forwarded-proto': 'https' }), 200)
  t.equal(await statusOf({ 'x-forwarded-proto': 'http' }), 403)
  t.equal(await statusOf({ 'x-forwarded-proto': 'junk' }), 403, 'the scheme of nginx itself')
  t.equal(await statusOf({}), 403)
})

t.test('names of private ranges can be trusted, and a number of proxies cannot', async t => {
  const trusts = (names: string) => load({ TRUST_PROXY: names }).trustProxy ?? (() => undefined)
  const addresses = ['127.0.0.1', '::1', '169.254.169.126', 'fe80::1', '10.1.2.3', '192.168.0.1', 'fd00::1']
  for (const [names, expected] of [
    ['loopback', ['127.0.0.1', '::1']],
    ['linklocal', ['169.254.169.126', 'fe80::1']],
    ['uniquelocal', ['10.1.2.3', '192.168.0.1', 'fd00::1']],
    ['private', addresses],
    ['loopback, 203.0.113.9', ['127.0.0.1', '::1', '203.0.113.9']]
  ] as const) {
    const trusted = [...addresses, '203.0.113.9', '172.32.0.1', '2001:db8::1'].filter(trusts(names))
    t.strictSame(trusted, expected, names)
  }
  for (const blind of ['1', '2', 'true', 'TRUE', 'loopback,1']) {
    const refusal = /TRUST_PROXY must not be (1|2|true): .* client .* addresses of the proxies.*`private`/i
    t.throws(() => load({ TRUST_PROXY: blind }), refusal)
  }
  for (const unknown of ['Private', 'localhost', 'cloudflare', 'off,loopback']) {
    t.throws(() => load({ TRUST_PROXY: unknown }), /TRUST_PROXY/)
  }
})
