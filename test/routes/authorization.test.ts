import { build, newUser } from '../support/app.ts'
import { listen } from '../support/concurrency.ts'
import {
  authorizationOf, authorize, codeIn, destinationOf, newClient, redeem, redirectUri, sealedIn, signInFor,
  submit
} from '../support/delegation.ts'
import { claimsOf } from '../support/jwt.ts'
import { t } from '../support/test.ts'
import { ask } from '../support/wire.ts'

const service = await build(t)
const client = await newClient(service)

/** What the client is told. */
const responseOf = (url: URL) => Object.fromEntries(url.searchParams)

t.test('a client delegates the login of a user', async t => {
  const { userId, user, attempt, tokens, browser } = await signInFor(service, client)
  t.match(tokens, {
    token_type: 'Bearer', expires_in: 900, scope: 'openid profile email', refresh_token: /^lkr_/
  })
  const access = claimsOf(tokens.access_token)
  t.match(access, {
    iss: 'http://localhost:3000',
    aud: 'http://localhost:3000/oauth/userinfo',
    sub: userId,
    client_id: client.id,
    scope: 'openid profile email',
    amr: ['pwd']
  })
  t.notOk('roles' in access)
  t.match(claimsOf(tokens.id_token), {
    iss: 'http://localhost:3000', aud: client.id, sub: userId, nonce: attempt.nonce, sid: access.sid
  })
  const anybody = service.browser()
  anybody.accessToken = tokens.access_token
  t.match(
    (await anybody.get('/oauth/userinfo')).body,
    { sub: userId, email: user.email, email_verified: false }
  )
  t.equal((await anybody.get('/v1/me')).status, 401, 'a token of a client is not good for the account')

  await t.test('and the next login of the browser needs no page', async t => {
    const next = authorizationOf(client)
    const url = await authorize(browser, next)
    t.match(responseOf(url), { state: next.state, iss: 'http://localhost:3000' })
    t.equal((await redeem(service, client, { code: codeIn(url), verifier: next.verifier })).status, 200)
  })
})

t.test('a request without a proven redirect URI gets a page, and no redirect', async t => {
  const browser = service.browser()
  const cases: Array<[name: string, overrides: Record<string, string | undefined>, added?: string]> = [
    ['an unknown client', { client_id: '0199e8f2-6c1c-7000-8000-0a1b2c3d4e5f' }],
    ['a client id that is no UUID', { client_id: "'; drop table clients" }],
    ['no client', { client_id: undefined }],
    ['no redirect URI', { redirect_uri: undefined }],
    ['an unregistered redirect URI', { redirect_uri: `${redirectUri}/other` }],
    ['a redirect URI with another case', { redirect_uri: redirectUri.toUpperCase() }],
    ['a redirect URI with a query', { redirect_uri: `${redirectUri}?x=1` }],
    ['two client ids', {}, `&client_id=${client.id}`],
    ['two redirect URIs', {}, `&redirect_uri=${encodeURIComponent(redirectUri)}`]
  ]
  for (const [name, overrides, added = ''] of cases) {
    const { status, headers } = await browser.get(authorizationOf(client, overrides).url + added)
    t.equal(status, 400, name)
    t.match(headers['content-type'], /^text\/html/, name)
    t.equal(headers['location'], undefined, name)
  }
})

t.test('the page says what is wrong with the request, in the language of its user', async t => {
  const cases: Array<[overrides: Record<string, string | undefined>, english: string, german: string]> = [
    [{ client_id: undefined }, 'The client_id is missing or repeated.',
      'Die client_id fehlt oder kommt mehrfach vor.'],
    [{ client_id: 'unknown' }, 'No client has this client_id.',
      'Es gibt keinen Client mit dieser client_id.'],
    [{ redirect_uri: undefined }, 'The redirect_uri is missing or repeated.',
      'Die redirect_uri fehlt oder kommt mehrfach vor.'],
    [{ redirect_uri: `${redirectUri}/other` }, 'The redirect_uri is not registered for this client.',
      'Die redirect_uri ist für diesen Client nicht registriert.']
  ]
  for (const [overrides, english, german] of cases) {
    const read = async (locale: string, added = {}) => {
      const { url } = authorizationOf(client, { ...overrides, ...added })
      return (await service.browser().get(url, { 'accept-language': locale })).text
    }
    t.match(await read('en'), english)
    for (const page of [await read('de'), await read('en', { ui_locales: 'fr de' })]) {
      t.match(page, '<html lang="de"')
      t.match(page, german)
      t.notMatch(page, english)
    }
  }
})

t.test('the link of an error page to the other language keeps the error', async t => {
  const browser = service.browser()
  const languageLink = (text: string) =>
    /<a class="language" href="([^"]+)"/.exec(text)?.[1]?.replaceAll('&amp;', '&') ?? ''
  const unregistered = authorizationOf(client, { redirect_uri: `${redirectUri}/"><b>` }).url
  const cases: Array<[url: string, german: string]> = [
    [unregistered, 'Die redirect_uri ist für diesen Client nicht registriert.'],
    ['/sign-in?request=forged', 'Die Anmeldung hat zu lange gedauert'],
    ['/sign-out?request=forged', 'Die Anmeldung hat zu lange gedauert']
  ]
  for (const [url, german] of cases) {
    const { text } = await browser.get(url, { 'accept-language': 'en' })
    const translated = await browser.get(languageLink(text))
    t.match(translated, { status: 400, text: german }, url)
    const back = await browser.get(languageLink(translated.text))
    t.match(back, { status: 400, text: '<html lang="en"' }, url)
  }
  t.equal(browser.jar.get('lang_3000'), 'en', 'the choice is remembered')
  const origin = await listen(service)
  for (const path of ['//evil.example/', '/\\evil.example', '/nowhere']) {
    const { status, text } = await ask('GET', origin + path, {
      lines: ['accept: text/html', 'accept-language: en']
    })
    t.equal(status, 404, path)
    t.equal(languageLink(text), '/?lang=de', 'an unknown address is not repeated')
  }
})

t.test('after that, the client is told what is wrong, with state and iss', async t => {
  const browser = service.browser()
  const cases: Array<[error: string, overrides: Record<string, string | undefined>, added?: string]> = [
    ['invalid_request', { response_type: undefined }],
    ['unsupported_response_type', { response_type: 'token' }],
    ['unsupported_response_type', { response_type: 'code id_token' }],
    ['invalid_request', { response_mode: 'fragment' }],
    ['invalid_request', { response_mode: 'form_post' }],
    ['invalid_request', { code_challenge: undefined }],
    ['invalid_request', { code_challenge_method: undefined }],
    ['invalid_request', { code_challenge_method: 'plain' }],
    ['invalid_request', { code_challenge: 'short' }],
    ['invalid_request', { code_challenge: `${'a'.repeat(42)}=` }],
    ['request_not_supported', { request: 'eyJhbGciOiJub25lIn0.e30.' }],
    ['request_uri_not_supported', { request_uri: 'https://orders.example.com/request' }],
    ['registration_not_supported', { registration: '{}' }],
    ['invalid_request', { prompt: 'none login' }],
    ['invalid_request', { prompt: 'sometimes' }],
    ['invalid_request', { max_age: '-1' }],
    ['invalid_request', { max_age: '1e3' }],
    ['invalid_target', { resource: 'https://other.example.com' }],
    ['login_required', { prompt: 'none' }],
    ['invalid_request', {}, '&scope=openid'],
    ['invalid_request', {}, '&nonce=again']
  ]
  for (const [error, overrides, added = ''] of cases) {
    const attempt = authorizationOf(client, overrides)
    const { status, headers } = await browser.get(attempt.url + added)
    const url = new URL(String(headers['location']))
    const name = `${JSON.stringify(overrides)}${added}`
    t.equal(status, 303, name)
    t.equal(url.origin + url.pathname, redirectUri, name)
    t.match(responseOf(url), { error, state: attempt.state, iss: 'http://localhost:3000' }, name)
    t.match(url.searchParams.get('error_description'), /^[\x20-\x21\x23-\x5b\x5d-\x7e]+$/, name)
  }
})

t.test('an empty parameter counts as absent, and an unknown one is ignored', async t => {
  const attempt = authorizationOf(
    client,
    { response_mode: '', prompt: '', max_age: '', unknown: 'x', scope: '' }
  )
  t.equal(destinationOf(await service.browser().get(attempt.url)).pathname, '/sign-in')
})

t.test('unknown scopes are dropped, and the granted ones are returned', async t => {
  const { tokens } = await signInFor(
    service,
    client,
    { scope: 'openid admin orders:read offline_access account' }
  )
  t.equal(tokens.scope, 'openid')
})

t.test('a form that a client posts becomes a request by GET', async t => {
  const { url } = authorizationOf(client)
  const [path = '', query = ''] = url.split('?')
  const { status, headers } = await service.browser().post(path, query, {
    'content-type': 'application/x-www-form-urlencoded', origin: 'https://orders.example.com'
  })
  t.equal(status, 303)
  t.equal(headers['location'], url)
  // Each of these characters takes six in a URL.
  for (const value of ['x'.repeat(20_000), 'é'.repeat(5_000)]) {
    for (const target of [path, '/oauth/logout']) {
      const long = await service.browser().post(target, `${query}&x=${value}`, {
        'content-type': 'application/x-www-form-urlencoded', accept: 'text/html'
      })
      t.match(long, { status: 413, headers: { 'content-type': /^text\/html/ } }, 'too long for a URL')
    }
  }
})

t.test('a visit without a sign-in writes nothing', async t => {
  const counts = async () => (await service.sql(`
    select (select count(*) from sessions) as sessions, (select count(*) from authorization_codes) as codes,
      (select count(*) from audit_events) as events, (select count(*) from browser_tokens) as tokens`))[0]
  const before = await counts()
  const { cookies } = await service.browser().get(authorizationOf(client).url)
  t.strictSame(cookies, [])
  t.strictSame(await counts(), before)
})

t.test('prompt', async t => {
  const { browser, user } = await signInFor(service, client)
  const open = async (prompt: string, overrides = {}) =>
    destinationOf(await browser.get(authorizationOf(client, { prompt, ...overrides }).url))

  await t.test('none answers without a page', async t => {
    t.ok(codeIn(await open('none')))
    t.match(responseOf(await open('none', { scope: 'openid' })), { code: /./ }, 'less than was allowed')
    const other = await newClient(service, { name: 'Reports' })
    const { url } = authorizationOf(other, { prompt: 'none' })
    t.match(responseOf(destinationOf(await browser.get(url))), { error: 'consent_required' })
  })

  await t.test('login asks for the password, for this request alone', async t => {
    const attempt = authorizationOf(client, { prompt: 'login' })
    const page = destinationOf(await browser.get(attempt.url))
    t.equal(page.pathname, '/sign-in')
    const other = authorizationOf(client, { prompt: 'login' })
    const otherPage = destinationOf(await browser.get(other.url))
    const credentials = { identifier: user.email, password: user.password }
    t.ok(
      codeIn(destinationOf(await submit(browser, '/sign-in', { ...credentials, request: sealedIn(page) })))
    )
    t.equal(
      (await browser.get(otherPage.pathname + otherPage.search)).status,
      200,
      'the other tab still asks'
    )
    t.equal(destinationOf(await browser.get(other.url)).pathname, '/sign-in')
  })

  await t.test('consent asks again', async t => {
    t.equal((await open('consent')).pathname, '/consent')
  })

  await t.test('create shows the sign-up', async t => {
    t.equal((await open('create')).pathname, '/sign-up')
  })

  await t.test('select_account lets the user choose', async t => {
    t.equal((await open('select_account')).pathname, '/sign-in')
  })
})

t.test('max_age is judged by the time of the sign-in', async t => {
  const { browser, user } = await signInFor(service, client)
  const open = async (maxAge: string, prompt?: string) =>
    destinationOf(await browser.get(authorizationOf(client, { max_age: maxAge, prompt }).url))
  await service.sql("update sessions set authenticated_at = now() - interval '100 s' where is_browser")
  t.ok(codeIn(await open('200')))
  t.match(responseOf(await open('50', 'none')), { error: 'login_required' })
  const page = await open('50')
  t.equal(page.pathname, '/sign-in')
  const next = destinationOf(await submit(browser, '/sign-in', {
    identifier: user.email, password: user.password, request: sealedIn(page)
  }))
  t.ok(codeIn(next))
  t.ok(codeIn(await open('50', 'none')), 'the sign-in is fresh')
})

t.test('an ID token as a hint names the only user who is good', async t => {
  const { browser, tokens } = await signInFor(service, client)
  const otherUser = newUser()
  await service.browser().post('/v1/auth/register', otherUser)
  const hint = { id_token_hint: tokens.id_token }
  t.ok(codeIn(destinationOf(await browser.get(authorizationOf(client, { ...hint, prompt: 'none' }).url))))
  const otherBrowser = service.browser()
  const end = await authorize(otherBrowser, authorizationOf(client, hint), otherUser)
  t.match(responseOf(end), { error: 'login_required' }, 'another user signed in')
  const silent = destinationOf(
    await otherBrowser.get(authorizationOf(client, { ...hint, prompt: 'none' }).url)
  )
  t.match(responseOf(silent), { error: 'login_required' })

  const long = await signInFor(service, client, { nonce: 'n'.repeat(1_900) })
  t.ok(long.tokens.id_token.length > 2_048)
  const longHint = { id_token_hint: long.tokens.id_token, prompt: 'none' }
  t.ok(codeIn(destinationOf(await long.browser.get(authorizationOf(client, longHint).url))))
})

t.test('consent', async t => {
  const reports = await newClient(service, {
    name: '<b>Reports</b>', redirect_uris: ['https://reports.example.com/cb']
  })
  const user = newUser()
  await service.browser().post('/v1/auth/register', user)
  const credentials = { identifier: user.email, password: user.password }
  const ask = async (overrides = {}) => {
    const browser = service.browser()
    const attempt = authorizationOf(reports, overrides)
    const signIn = destinationOf(await browser.get(attempt.url))
    const page = destinationOf(
      await submit(browser, '/sign-in', { ...credentials, request: sealedIn(signIn) })
    )
    return { browser, attempt, page }
  }

  await t.test('shows who asks for what', async t => {
    const { browser, page } = await ask()
    t.equal(page.pathname, '/consent')
    const { text } = await browser.get(page.pathname + page.search)
    t.match(text, '&lt;b&gt;Reports&lt;/b&gt;')
    t.notMatch(text, '<b>Reports')
    t.match(text, 'reports.example.com')
    t.match(text, user.email)
  })

  await t.test('can be refused', async t => {
    const { browser, attempt, page } = await ask()
    const answer = await submit(browser, '/consent', { request: sealedIn(page), decision: 'cancel' })
    t.equal(answer.status, 200, 'a page moves on, because form-action would block a redirect')
    t.match(responseOf(destinationOf(answer)), { error: 'access_denied', state: attempt.state })
    t.equal((await ask()).page.pathname, '/consent', 'it is asked again')
  })

  await t.test('is given by the user who was asked, in the same browser, from our own page', async t => {
    const { browser, page } = await ask()
    const fields = { request: sealedIn(page), decision: 'allow' }
    const otherBrowserAnswer = await submit(service.browser(), '/consent', fields)
    t.equal(destinationOf(otherBrowserAnswer).pathname, '/sign-in')
    const crossSite = await browser.post('/consent', new URLSearchParams(fields).toString(), {
      'content-type': 'application/x-www-form-urlencoded', origin: 'https://reports.example.com'
    })
    t.equal(crossSite.status, 403)
    t.equal((await browser.get(`/consent?request=${fields.request}&decision=allow`)).status, 200)
    t.strictSame(await service.sql('select from consents where client_id = $1', [reports.id]), [])
    t.ok(codeIn(destinationOf(await submit(browser, '/consent', fields))))
  })

  await t.test('is remembered, and asked again for more', async t => {
    t.ok(codeIn((await ask()).page), 'from another browser of the same user')
    const [row] = await service.sql<{ scopes: string[] }>(
      'select scopes from consents where client_id = $1', [reports.id])
    t.strictSame(row?.scopes, ['email', 'openid', 'profile'])
    await service.sql("update clients set scopes = scopes || '{offline_access}' where id = $1", [reports.id])
    await service.sql("select pg_notify('latchkey_clients', '')")
    await t.resolves(async () => {
      for (let tries = 0; tries < 50; tries++) {
        const { page } = await ask({ scope: 'openid offline_access' })
        if (page.pathname === '/consent') return
      }
      throw new Error('it is not asked')
    })
  })
})

t.test('a sealed request that was changed or has expired gets a page', async t => {
  const browser = service.browser()
  const page = destinationOf(await browser.get(authorizationOf(client).url))
  const sealed = sealedIn(page)
  for (const request of [sealed.slice(0, -2), `${sealed.slice(0, 60)}AAAA${sealed.slice(64)}`, 'x', 'AQ']) {
    const answer = await browser.get(`/sign-in?request=${request}`)
    t.equal(answer.status, 400)
    t.match(answer.headers['content-type'], /^text\/html/)
  }
})

t.test('pages of other origins cannot read the pages of the sign-in', async t => {
  const app = 'https://app.example.com'
  const browser = (await build(t, { CORS_ORIGINS: app }, { url: service.url })).browser()
  for (const origin of ['https://orders.example.com', app]) {
    for (const url of [authorizationOf(client).url, '/oauth/logout', '/sign-in', '/consent', '/sign-out']) {
      const { headers } = await browser.get(url, { origin })
      t.equal(headers['access-control-allow-origin'], undefined, `${url} ${origin}`)
      const preflight = await browser.send('OPTIONS', url, undefined, {
        origin, 'access-control-request-method': 'GET'
      })
      t.equal(preflight.headers['access-control-allow-origin'], undefined, `preflight of ${url} ${origin}`)
    }
    const { headers } = await browser.get('/oauth/userinfo', { origin, authorization: 'Bearer x' })
    t.equal(headers['access-control-allow-origin'], origin)
    t.equal(headers['access-control-allow-credentials'], undefined)
  }
})
