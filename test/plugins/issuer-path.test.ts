import { readFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { load } from '../../src/config/config.ts'
import { freePort } from '../../src/database/embedded/server.ts'
import { createPathMapping } from '../../src/http/base-path.ts'
import { build, newUser } from '../support/app.ts'
import { missing, start } from '../support/chromium.ts'
import { mailTo } from '../support/inbox.ts'
import { skip, startServer } from '../support/nginx.ts'
import { t } from '../support/test.ts'

t.test('an issuer can have a path', async t => {
  for (const [url, issuer] of [
    ['https://Example.com/auth', 'https://example.com/auth'],
    ['https://example.com/a/b-c/', 'https://example.com/a/b-c'],
    ['https://example.com/', 'https://example.com']
  ]) t.match(load({ ISSUER_URL: url ?? '' }), { issuer, audience: issuer, mail: { linksUrl: issuer } })
  for (const url of [
    'https://example.com//', 'https://example.com/a//b', 'https://example.com/a%20b',
    'https://example.com/.well', 'https://example.com/auth?a', 'https://example.com/auth#a',
    'https://a@example.com/auth'
  ]) t.throws(() => load({ ISSUER_URL: url }), /ISSUER_URL must be an origin .* path such as \/auth/, url)
})

t.test('a path of a request under that of the issuer is mapped to a route', async t => {
  const toRoute = createPathMapping('https://example.com/auth')
  for (const [url = '', route] of [
    ['/auth', '/'], ['/auth/', '/'], ['/auth?a=b', '/?a=b'], ['/auth/v1/me?a=b', '/v1/me?a=b'],
    ['/auth/auth/x', '/auth/x'], ['http://example.com/auth/livez', 'http://example.com/livez'],
    ['/.well-known/oauth-authorization-server/auth', '/.well-known/oauth-authorization-server'],
    ['/.well-known/openid-configuration/auth?a', '/.well-known/openid-configuration?a'],
    ['/livez', '/livez'], ['/authx', '/authx'], ['/Auth/livez', '/Auth/livez'], ['*', '*'],
    ['/.well-known/oauth-authorization-server/authx', '/.well-known/oauth-authorization-server/authx'],
    ['/.well-known/jwks.json', '/.well-known/jwks.json']
  ]) t.equal(toRoute(url), route, url)
  t.equal(createPathMapping('https://example.com')('/auth/livez'), '/auth/livez')
})

t.test('behind nginx, everything is served under the path of the issuer', { skip }, async t => {
  const port = await freePort()
  const issuer = `http://localhost:${port}/auth`
  const service = await build(t, { ISSUER_URL: issuer })
  await service.app.listen({ host: '127.0.0.1', port: 0 })
  const { port: servicePort } = service.app.server.address() as AddressInfo
  const [, locations = ''] = /### Under a path.*?```nginx\n(.*?)```/s
    .exec(readFileSync('docs/deployment.md', 'utf8')) ?? []
  const { base } = await startServer(t, {
    port, locations: locations.replaceAll('127.0.0.1:3000', `127.0.0.1:${servicePort}`)
  })
  const at = (url: string) => url.replace(new URL(issuer).origin, base)
  const get = async (url: string, headers: Record<string, string> = {}) => {
    const response = await fetch(at(new URL(url, `${issuer}/`).href), { headers, redirect: 'error' })
    return { status: response.status, text: await response.text() }
  }
  const post = async (path: string, body: unknown, headers: Record<string, string> = {}) => {
    const response = await fetch(at(issuer + path), {
      method: 'POST', body: JSON.stringify(body), headers: { 'content-type': 'application/json', ...headers }
    })
    return {
      status: response.status,
      cookie: response.headers.getSetCookie().map(line => line.split(';')[0]).join('; '),
      body: JSON.parse(await response.text() || '{}') as Record<string, string>
    }
  }
  /** The URLs that a page loads or submits to. */
  const urlsIn = (html: string) =>
    [...html.matchAll(/(?:href|src|action)="([^"]+)"/g)].map(([, url = '']) => url)

  await t.test('the metadata, in the form of RFC 8414 too, and what they name', async t => {
    for (const url of [
      `${issuer}/.well-known/oauth-authorization-server`, '/.well-known/oauth-authorization-server/auth',
      `${issuer}/.well-known/openid-configuration`
    ]) {
      const metadata = JSON.parse((await get(url)).text)
      t.equal(metadata.issuer, issuer)
      const { keys } = JSON.parse((await get(metadata.jwks_uri)).text)
      t.ok(keys.length > 0)
      t.equal((await get(metadata.service_documentation)).status, 200)
      t.match(metadata.token_endpoint, `${issuer}/oauth/token`)
      t.equal((await get(metadata.token_endpoint)).status, 405)
    }
  })

  await t.test('sign-in, refresh from a page of the same origin, and problems', async t => {
    const user = newUser()
    const { status, cookie, body } = await post('/v1/auth/register', user)
    t.equal(status, 201)
    const claims = JSON.parse(Buffer.from(body['access_token']?.split('.')[1] ?? '', 'base64url').toString())
    t.match(claims, { iss: issuer, aud: issuer })
    const { origin } = new URL(issuer)
    t.equal((await post('/v1/auth/refresh', {}, { cookie, origin })).status, 200)
    const wrong = await post('/v1/auth/login', { ...user, password: 'wrong' })
    t.match(wrong.body, { code: 'invalid_credentials', type: `${issuer}/problems/invalid_credentials` })
    t.match(await get(wrong.body['type'] ?? ''), { status: 200, text: /<h1>/ })
    await post('/v1/auth/password-reset', { email: user.email })
    const { link } = await mailTo(service, user.email, 'password_reset')
    t.match(link, `${issuer}/password-reset#token=`)
  })

  await t.test('pages with their assets, the documentation and the front page', async t => {
    for (const path of ['/auth/', '/auth/docs', '/auth/password-reset', '/auth/magic-link']) {
      const { status, text } = await get(path, { accept: 'text/html' })
      t.equal(status, 200, path)
      const urls = urlsIn(text)
      t.ok(urls.length > 0)
      for (const url of urls) {
        t.ok(new URL(url, issuer).href.startsWith(`${issuer}/`), url)
        t.equal((await get(url)).status, 200, url)
      }
    }
    const { text } = await get('/auth/docs/static/swagger-initializer.js')
    const [, url = ''] = /url: '([^']+)'/.exec(text) ?? []
    const document = JSON.parse((await get(url)).text)
    t.equal(document.servers[0].url, '/auth')
    t.match(document.info.description, /\(\/auth\/problems\/[a-z_]+\)/)
    t.equal(JSON.parse((await get(`${issuer}/openapi.json`)).text).servers[0].url, issuer)
  })

  await t.test('a mailed link sets a password in a browser', { skip: missing ?? false }, async t => {
    const user = newUser()
    await post('/v1/auth/register', user)
    await post('/v1/auth/password-reset', { email: user.email })
    const { link = '' } = await mailTo(service, user.email, 'password_reset')
    const { page, requests, complaints } = await (await start(t)).tab()
    await page.goto(link)
    await page.fill('[name=new_password]', 'another phrase of mine')
    await page.click('button.button')
    await page.waitForURL('**/password-reset/done')
    t.strictSame(complaints, [])
    t.ok(requests.every(request => request.url().startsWith(`${issuer}/`)))
    t.equal((await post('/v1/auth/login', { ...user, password: 'another phrase of mine' })).status, 200)
  })

  await t.test('routes are also served without the path', async t => {
    t.equal((await fetch(`http://127.0.0.1:${servicePort}/readyz`)).status, 200)
    t.equal((await fetch(`http://127.0.0.1:${servicePort}/auth/readyz`)).status, 200)
    t.equal((await fetch(`http://127.0.0.1:${servicePort}/other/readyz`)).status, 404)
  })
})
