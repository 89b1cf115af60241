import { once } from 'node:events'
import { createServer, request as forward } from 'node:http'
import type { AddressInfo } from 'node:net'
import { load } from '../../src/config/config.ts'
import { build, newUser } from '../support/app.ts'
import { missing, start } from '../support/chromium.ts'
import { waitFor } from '../support/polling.ts'
import { t } from '../support/test.ts'

const app = 'https://app.example.com'
const service = await build(t, { CORS_ORIGINS: app })
const preflight = (origin: string, headers: string) => ({
  origin, 'access-control-request-method': 'POST', 'access-control-request-headers': headers
})

t.test('a preflight may ask for any header, which tracing adds', async t => {
  const asked = 'authorization,baggage,content-type,sentry-trace,traceparent,tracestate,x-datadog-trace-id'
  const answer = await service.browser().send('OPTIONS', '/v1/me', undefined, preflight(app, asked))
  t.match(answer, {
    status: 204,
    headers: {
      'access-control-allow-origin': app,
      'access-control-allow-headers': asked,
      vary: /access-control-request-headers/i
    }
  })
  const foreign = preflight('https://evil.example', asked)
  const refused = await service.browser().send('OPTIONS', '/v1/me', undefined, foreign)
  t.notOk('access-control-allow-headers' in refused.headers)
})

t.test('origins of packaged applications and browser extensions can be allowed', async t => {
  const origins = [
    'tauri://localhost', 'capacitor://localhost', 'ionic://localhost', 'app://-',
    'chrome-extension://abcdefghijklmnopabcdefghijklmnop', 'vscode-webview://0f1e:8080'
  ]
  const packaged = await build(t, {
    ISSUER_URL: 'https://auth.example.com', CORS_ORIGINS: `${origins.join(', ')}, HTTPS://App.Example.com/`
  }, { url: service.url })
  for (const origin of [...origins, app]) {
    const { headers } = await packaged.browser().get('/livez', { origin })
    t.match(headers, { 'access-control-allow-origin': origin, 'access-control-allow-credentials': 'true' })
  }
  const others = [
    'tauri://localhost.evil', 'tauri://localhost:1', 'app://', 'null', 'chrome-extension://a'
  ]
  for (const origin of others) {
    const { headers } = await packaged.browser().get('/livez', { origin })
    t.notOk('access-control-allow-origin' in headers, origin)
  }
  for (const invalid of [
    '*', 'null', 'tauri://', 'tauri:localhost', 'tauri://*', 'tauri://localhost/path',
    'tauri://user@localhost', 'app://-?x', 'file:///', 'wss://app.example.com',
    'data:text/html,x', 'app.example.com'
  ]) {
    t.throws(() => load({ CORS_ORIGINS: invalid }), /CORS_ORIGINS must be/, invalid)
  }
})

t.test('same-origin of the browser is taken; without it the refusal names the origin', async t => {
  const browser = service.browser()
  await browser.post('/v1/auth/register', newUser())
  const devServer = { origin: 'http://localhost:5173' }
  const viaProxy = { ...devServer, 'sec-fetch-site': 'same-origin' }
  t.match(await browser.post('/v1/auth/refresh', undefined, viaProxy), { status: 200 })
  for (const site of ['', 'same-site', 'cross-site', 'none', 'Same-Origin']) {
    const headers = { ...devServer, ...site !== '' && { 'sec-fetch-site': site } }
    const answer = await browser.post('/v1/auth/refresh', undefined, headers)
    t.match(answer, { status: 403, body: { code: 'cross_site_request' } }, site)
    t.match(answer.body.detail, /http:\/\/localhost:5173.*ISSUER_URL.*CORS_ORIGINS/)
  }
  const lines = service.logs.filter(({ origin }) => origin === devServer.origin)
  t.match(lines, [{ level: 40, msg: /http:\/\/localhost:5173.*ISSUER_URL.*CORS_ORIGINS/ }])
  t.equal(lines.length, 1, 'it is logged once')
  const long = await browser.post('/v1/auth/refresh', undefined, { origin: `https://${'x'.repeat(9_000)}` })
  t.equal(long.status, 403)
  t.ok(long.text.length < 1_000)
})

t.test('public documents are for pages of every origin, without credentials', async t => {
  for (const path of [
    '/.well-known/jwks.json', '/.well-known/oauth-authorization-server',
    '/.well-known/openid-configuration', '/openapi.json'
  ]) {
    for (const origin of ['https://elsewhere.example', app]) {
      const { headers } = await service.browser().get(path, { origin })
      t.match(headers, { 'access-control-allow-origin': '*' }, path)
      t.notOk('access-control-allow-credentials' in headers)
      t.notMatch(headers['vary'], /origin/i, 'shared caches keep one response')
      const asked = await service.browser().send('OPTIONS', path, undefined, preflight(origin, 'traceparent'))
      t.match(asked, {
        status: 204,
        headers: { 'access-control-allow-origin': '*', 'access-control-allow-headers': 'traceparent' }
      })
    }
  }
  const { headers } = await service.browser().get('/livez', { origin: 'https://elsewhere.example' })
  t.notOk('access-control-allow-origin' in headers)
})

/** A page that signs up, refreshes without a body and with empty ones, and signs out with a beacon. */
const developedPage = (user: object) => `<!doctype html>
<pre></pre>
<script type="module">
const post = async (action, init) => (await fetch('/v1/auth/' + action, { method: 'POST', ...init })).status
const statuses = [
  await post('register', {
    headers: { 'content-type': 'application/json' }, body: '${JSON.stringify(user)}'
  }),
  await post('refresh'),
  await post('refresh', { body: '' }),
  await post('refresh', { body: new URLSearchParams() }),
  navigator.sendBeacon('/v1/auth/logout', '')
]
document.querySelector('pre').textContent = statuses.join()
</script>`

t.test('a page behind a development proxy stays signed in', { skip: missing ?? false }, async t => {
  const { app } = await build(t, { ISSUER_URL: 'http://localhost:1' }, { url: service.url })
  await app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = app.server.address() as AddressInfo
  const user = newUser()
  // As the proxies of Vite and webpack do, it changes neither Origin nor Sec-Fetch-Site.
  const proxy = createServer((asked, response) => {
    const { method, url, headers } = asked
    if (url === '/') {
      response.setHeader('content-type', 'text/html').end(developedPage(user))
      return
    }
    asked.pipe(forward({ port, method, path: url, headers }, answer => {
      response.writeHead(answer.statusCode ?? 502, answer.headers)
      answer.pipe(response)
    }))
  })
  t.teardown(() => { proxy.closeAllConnections(); proxy.close() })
  proxy.listen(0, '127.0.0.1')
  await once(proxy, 'listening')
  const { page } = await (await start(t)).tab()
  await page.goto(`http://localhost:${(proxy.address() as AddressInfo).port}/`)
  await page.waitForSelector('pre:not(:empty)')
  t.equal(await page.textContent('pre'), '201,200,200,200,true')
  const session = 'select end_reason from sessions join users on users.id = user_id where email = $1'
  await waitFor(async () => {
    const [found] = await service.sql<{ end_reason: string | null }>(session, [user.email])
    return found?.end_reason === 'logout'
  })
})
