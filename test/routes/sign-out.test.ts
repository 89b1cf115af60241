import type { Test } from 'tap'
import { build, newUser } from '../support/app.ts'
import type { Answer, Browser } from '../support/client.ts'
import {
  authorizationOf, destinationOf, isActive, newClient, sealedIn, signInFor, submit
} from '../support/delegation.ts'
import { claimsOf } from '../support/jwt.ts'
import { t } from '../support/test.ts'

const service = await build(t)
const home = 'https://orders.example.com/bye'
const client = await newClient(service, {
  post_logout_redirect_uris: [home, 'https://orders.example.com/bye?from=login']
})
const other = await newClient(service, {
  name: 'Reports', post_logout_redirect_uris: ['https://reports.example.com/bye']
})

const crossSite = { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate' }
const signedOut = 'http://localhost:3000/signed-out'
const logOut = async (browser: Browser, parameters: Record<string, string>) =>
  await browser.get(`/oauth/logout?${new URLSearchParams(parameters).toString()}`, crossSite)

/** Confirms on the page that a sign-out led to. */
async function confirm (browser: Browser, asked: Answer): Promise<URL> {
  const request = sealedIn(destinationOf(asked))
  return destinationOf(await submit(browser, '/sign-out', request === '' ? {} : { request }))
}

/** Asserts that a logout asks before it ends anything, and leads nowhere until then. */
async function assertAsks (t: Test, browser: Browser, parameters: Record<string, string>) {
  const answer = await logOut(browser, parameters)
  t.equal(answer.status, 303)
  const page = destinationOf(answer)
  t.equal(page.origin, 'http://localhost:3000')
  t.equal(page.pathname, '/sign-out')
  t.strictSame(answer.cookies, [], 'the cookies stay')
  const { status, text, cookies } = await browser.get(page.pathname + page.search)
  t.equal(status, 200)
  t.notMatch(text, /http-equiv="refresh"/)
  t.notOk(cookies.some(cookie => cookie.startsWith('session')))
  return answer
}

t.test('a client signs its user out', async t => {
  await t.test('at once, with the ID token of this browser', async t => {
    const { tokens, browser } = await signInFor(service, client)
    const answer = await logOut(browser, {
      id_token_hint: tokens.id_token, post_logout_redirect_uri: home, state: 'a b&c', client_id: client.id
    })
    t.equal(answer.status, 303)
    t.equal(destinationOf(answer).href, `${home}?state=a+b%26c`)
    t.match(answer.cookies, [/^session_3000=;.*Max-Age=0/])
    t.notOk(await isActive(service, tokens.access_token))
    const silent = destinationOf(await browser.get(authorizationOf(client, { prompt: 'none' }).url))
    t.equal(silent.searchParams.get('error'), 'login_required')
  })

  await t.test('although the ID token has expired, and its session has ended', async t => {
    const { tokens, browser } = await signInFor(service, client)
    const { at_hash: _, iss: _iss, ...claims } = claimsOf(tokens.id_token)
    const times = { iat: claims.iat - 7_200, exp: claims.exp - 7_200 }
    const expired = service.app.signIdToken({ ...claims, ...times }, 'RS256')
    await service.sql('select end_sessions(array[$1::uuid], $2, $3)', [claims.sid, 'revoked', '{}'])
    const answer = await logOut(browser, { id_token_hint: expired, post_logout_redirect_uri: home })
    t.equal(destinationOf(answer).href, home, 'without state there is none')
    t.match(answer.cookies, [/^session_3000=;/])
  })

  await t.test('by a form, which becomes a request by GET', async t => {
    const { tokens, browser } = await signInFor(service, client)
    const jar = new Map(browser.jar)
    browser.jar.clear() // A browser sends no Lax cookie with a form of another site.
    const parameters = new URLSearchParams({ id_token_hint: tokens.id_token, post_logout_redirect_uri: home })
    const posted = await browser.post('/oauth/logout', parameters.toString(), {
      ...crossSite, 'content-type': 'application/x-www-form-urlencoded', origin: 'https://orders.example.com'
    })
    t.equal(posted.status, 303)
    t.strictSame(posted.cookies, [])
    t.ok(await isActive(service, tokens.access_token), 'the form itself does nothing')
    for (const [name, value] of jar) browser.jar.set(name, value)
    const target = destinationOf(posted)
    t.equal(destinationOf(await browser.get(target.pathname + target.search)).href, home)
    t.notOk(await isActive(service, tokens.access_token))
  })

  await t.test('with an ID token whose long nonce makes it long', async t => {
    const { tokens, browser } = await signInFor(service, client, { nonce: 'n'.repeat(2_000) })
    t.ok(tokens.id_token.length > 2_048)
    const answer = await logOut(browser, { id_token_hint: tokens.id_token, post_logout_redirect_uri: home })
    t.equal(destinationOf(answer).href, home)
  })

  await t.test('and all sessions that other sites may end', async t => {
    const { tokens, browser } = await signInFor(service, client)
    const { user } = await signInFor(service, client)
    await browser.post('/v1/auth/login', user, { 'sec-fetch-site': 'same-origin' })
    await logOut(browser, { id_token_hint: tokens.id_token })
    t.notOk(await isActive(service, tokens.access_token))
    const { status } = await browser.post('/v1/auth/refresh')
    t.equal(status, 200, 'not the one whose cookie no other site can send')
  })
})

t.test('a page asks', async t => {
  const mine = await signInFor(service, client)
  const otherSession = await signInFor(service, client)
  const { user, browser } = mine
  const secondBrowser = service.browser()
  await submit(secondBrowser, '/sign-in', { identifier: user.email, password: user.password })
  const [header = '', payload = '', signature = ''] = String(mine.tokens.id_token).split('.')
  const forgery = JSON.stringify({ ...claimsOf(mine.tokens.id_token), aud: other.id })
  const changed = Buffer.from(forgery).toString('base64url')
  const { iss: _, at_hash: _hash, ...claims } = claimsOf(mine.tokens.id_token)
  const logoutToken = service.app.signLogoutToken({ ...claims, jti: 'x' }, 'RS256')

  const hints: Array<[name: string, browser: Browser, parameters: Record<string, string>, leads: string]> = [
    ['without a hint', browser, {}, signedOut],
    ['with an empty hint', browser, { id_token_hint: '' }, signedOut],
    ['with the client alone', browser, { client_id: client.id }, signedOut],
    ['with the hint of another browser of the user', secondBrowser,
      { id_token_hint: mine.tokens.id_token }, `${home}?state=x`],
    ['with the hint of another user', browser,
      { id_token_hint: otherSession.tokens.id_token }, `${home}?state=x`],
    ['with a hint that someone changed', browser, { id_token_hint: `${header}.${changed}.${signature}` },
      signedOut],
    ['with a hint without a signature', browser, { id_token_hint: `${header}.${payload}.` },
      signedOut],
    ['with an access token', browser, { id_token_hint: mine.tokens.access_token }, signedOut],
    ['with a logout token', browser, { id_token_hint: logoutToken }, signedOut],
    ['with a hint for another client than named', browser,
      { id_token_hint: mine.tokens.id_token, client_id: other.id }, signedOut]
  ]
  for (const [name, browser, parameters] of hints) {
    await t.test(name, async t => {
      await assertAsks(t, browser, { post_logout_redirect_uri: home, state: 'x', ...parameters })
      t.ok(await isActive(service, mine.tokens.access_token), 'nothing has ended')
    })
  }
  await t.test('with two hints', async t => {
    const { id_token: hint } = mine.tokens
    const answer = await browser.get(`/oauth/logout?id_token_hint=${hint}&id_token_hint=${hint}`)
    t.equal(destinationOf(answer).pathname, '/sign-out')
  })

  for (const [name, , parameters, expected] of hints) {
    await t.test(`and ${name} it leads to ${expected} after the confirmation`, async t => {
      const { browser } = await signInFor(service, client)
      const answer = await logOut(browser, { post_logout_redirect_uri: home, state: 'x', ...parameters })
      t.equal((await confirm(browser, answer)).href, expected)
    })
  }

  await t.test('although the state is too long to come back', async t => {
    const { browser } = await signInFor(service, client)
    const answer = await logOut(browser, {
      id_token_hint: otherSession.tokens.id_token, post_logout_redirect_uri: home, state: 'ü'.repeat(2_000)
    })
    const page = destinationOf(answer)
    t.equal((await browser.get(page.pathname + page.search)).status, 200)
    t.equal((await confirm(browser, answer)).href, signedOut)
  })

  await t.test('and the user can stay', async t => {
    const { browser, tokens } = await signInFor(service, client)
    const page = destinationOf(await logOut(browser, { id_token_hint: otherSession.tokens.id_token }))
    const answer = await submit(browser, '/sign-out', { request: sealedIn(page), decision: 'stay' })
    t.equal(destinationOf(answer).href, 'http://localhost:3000/signed-in')
    t.ok(await isActive(service, tokens.access_token))
  })
})

t.test('a logout redirects only to a registered URI of the client of the hint', async t => {
  const uris: Array<[uri: string, leads: boolean]> = [
    ['https://orders.example.com/bye?from=login', true],
    ['https://orders.example.com/bye/', false],
    ['https://orders.example.com/BYE', false],
    ['https://orders.example.com/bye?from=login&x=1', false],
    ['https://orders.example.com/callback', false],
    ['https://reports.example.com/bye', false],
    ['https://orders.example.com:8443/bye', false],
    ['javascript:alert(1)', false],
    ['//evil.example', false]
  ]
  for (const [uri, leads] of uris) {
    const { tokens, browser } = await signInFor(service, client)
    const url = destinationOf(await logOut(browser, {
      id_token_hint: tokens.id_token, post_logout_redirect_uri: uri, state: 'x'
    }))
    t.equal(url.href, leads ? `${uri}&state=x` : signedOut, uri)
    t.notOk(await isActive(service, tokens.access_token), 'the session ends nevertheless')
  }

  await t.test('on any port of this machine for a native client', async t => {
    const native = await newClient(service, {
      name: 'Desktop', application_type: 'native', post_logout_redirect_uris: ['http://127.0.0.1/bye']
    })
    for (const [uri, leads] of [
      ['http://127.0.0.1:51004/bye', true], ['http://127.0.0.1/bye', true],
      ['http://localhost:51004/bye', false], ['http://127.0.0.1:51004/', false],
      ['http://127.0.0.1.evil.example/bye', false]
    ] as const) {
      const { tokens, browser } = await signInFor(service, native)
      const url = destinationOf(await logOut(browser, {
        id_token_hint: tokens.id_token, post_logout_redirect_uri: uri
      }))
      t.equal(url.href, leads ? uri : signedOut, uri)
    }
  })
})

t.test('the page is in the language that the client prefers, unless the user has chosen another', async t => {
  const { browser } = await signInFor(service, client)
  const openPage = async (parameters: Record<string, string>) => {
    const page = destinationOf(await logOut(browser, parameters))
    return (await browser.get(page.pathname + page.search, { 'accept-language': 'en' })).text
  }
  t.match(await openPage({ ui_locales: 'xx' }), '<html lang="en"')
  const german = await openPage({ ui_locales: 'fr-CA de-AT en' })
  t.match(german, '<html lang="de"')
  t.match(german, 'Abmelden?')
  await browser.get('/sign-out?lang=en')
  t.match(await openPage({ ui_locales: 'de' }), '<html lang="en"')

  await t.test('also after the sign-out', async t => {
    const { tokens, browser } = await signInFor(service, client)
    const parameters = { id_token_hint: tokens.id_token, ui_locales: 'de' }
    const { pathname } = destinationOf(await logOut(browser, parameters))
    t.match((await browser.get(pathname)).text, /<html lang="de"[^]*Sie sind abgemeldet/)
  })

  await t.test('and nothing is remembered if the browser goes on to the client', async t => {
    const { tokens, browser } = await signInFor(service, client)
    const { cookies } = await logOut(browser, {
      id_token_hint: tokens.id_token, post_logout_redirect_uri: home, ui_locales: 'de'
    })
    t.notOk(cookies.some(cookie => cookie.startsWith('lang')))
  })
})

t.test('a logout hint has no effect', async t => {
  const { user, tokens, browser } = await signInFor(service, client)
  const hints = [user.email, claimsOf(tokens.id_token).sid, newUser().email, '<b>ada</b>', 'x'.repeat(3_000)]
  for (const logoutHint of hints) {
    const answer = await assertAsks(t, browser, { logout_hint: logoutHint, post_logout_redirect_uri: home })
    const page = destinationOf(answer)
    const { text } = await browser.get(page.pathname + page.search)
    t.match(text, user.email, 'the page names the account that is signed in')
    if (logoutHint !== user.email) t.notOk(text.includes(logoutHint))
  }
  t.ok(await isActive(service, tokens.access_token))
  const parameters = { id_token_hint: tokens.id_token, logout_hint: newUser().email }
  t.equal(destinationOf(await logOut(browser, parameters)).href, signedOut)
})

t.test('if nobody is signed in, a logout goes on, and sets no cookie', async t => {
  const { tokens } = await signInFor(service, client)
  for (const browser of [service.browser(), Object.assign(service.browser(), {
    jar: new Map([['session_3000', `lkb_${'a'.repeat(43)}`]])
  })]) {
    const answer = await logOut(browser, {
      id_token_hint: tokens.id_token, post_logout_redirect_uri: home, state: 'x'
    })
    t.equal(destinationOf(answer).href, `${home}?state=x`)
    t.strictSame(answer.cookies, [])
    t.equal(destinationOf(await logOut(browser, { post_logout_redirect_uri: home })).pathname, '/signed-out')
  }
  t.ok(await isActive(service, tokens.access_token), 'and ends nothing in other browsers')
})

t.test('a page of another site cannot sign a user out', async t => {
  const user = newUser()
  const browser = service.browser()
  await browser.post('/v1/auth/register', user)
  await submit(browser, '/sign-in', { identifier: user.email, password: user.password })
  const before = new Map(browser.jar)
  const posted = await browser.post('/sign-out', '', {
    ...crossSite, 'content-type': 'application/x-www-form-urlencoded', origin: 'https://evil.example'
  })
  t.equal(posted.status, 403)
  for (const path of ['/sign-out', '/signed-out', '/oauth/logout', '/oauth/logout?client_id=x']) {
    await browser.get(path, crossSite)
  }
  t.strictSame(browser.jar.get('session_3000'), before.get('session_3000'))
  t.strictSame(browser.jar.get('refresh_token_3000'), before.get('refresh_token_3000'))
  for (const path of ['/oauth/logout', '/oauth/authorize']) {
    for (const origin of ['https://evil.example', 'https://orders.example.com']) {
      const { headers } = await browser.get(path, { origin })
      t.equal(headers['access-control-allow-origin'], undefined, 'no script reads it')
    }
  }
  await t.test('with a sealed request of another purpose either', async t => {
    const { browser } = await signInFor(service, client)
    const page = destinationOf(await browser.get(authorizationOf(client, { prompt: 'login' }).url))
    t.equal((await submit(browser, '/sign-out', { request: sealedIn(page) })).status, 400)
  })
})
