import { freePort } from '../../src/database/embedded/server.ts'
import { build, newUser, type Service } from '../support/app.ts'
import type { Browser } from '../support/client.ts'
import { mailTo, mailsTo } from '../support/inbox.ts'
import { t } from '../support/test.ts'

const html = { accept: 'text/html' }
const form = { 'content-type': 'application/x-www-form-urlencoded', ...html }
const post = async (browser: Browser, path: string, fields: Record<string, string>, headers = {}) =>
  await browser.post(path, new URLSearchParams(fields).toString(), { ...form, ...headers })
const wrong = 'not the password at all'

async function signUp (service: Service) {
  const user = newUser()
  const { status } = await post(service.browser(), '/sign-up', user)
  if (status !== 303) throw new Error(`not signed up: ${status}`)
  return user
}

const service = await build(t)
const { browser } = service

t.test('the page to sign in', async t => {
  t.test('signs in with an address or a username, and sets the cookies of the API', async t => {
    const { email, password } = await signUp(service)
    await service.sql("update users set username = 'ada' where email = $1", [email])
    for (const identifier of [email, email.toUpperCase(), 'ada', 'ADA']) {
      const visitor = browser()
      t.match(await post(visitor, '/sign-in', { identifier, password, remember: 'true' }), {
        status: 303,
        headers: { location: '/signed-in' },
        cookies: [
          /^refresh_token_3000=.*Max-Age=\d+.*HttpOnly.*SameSite=Strict/,
          /^session_3000=.*Max-Age=\d+.*HttpOnly.*SameSite=Lax/,
          /^device_3000=/
        ]
      })
      t.match(await visitor.get('/signed-in', html), { status: 200, text: /You are signed in/ })
      t.match(await visitor.post('/v1/auth/refresh'), { status: 200 })
    }
    t.match(await browser().get('/signed-in', html), { status: 303, headers: { location: '/sign-in' } })
    const { cookies } = await post(browser(), '/sign-in', { identifier: email, password })
    t.notMatch(cookies[0], /Max-Age/, 'without the box, the cookie ends with the browser')
  })

  t.test('leads to HOME_URL by a page, because a form must not redirect to another origin', async t => {
    const home = 'https://app.example/?a=1&b="'
    const atHome = await build(t, { HOME_URL: home }, { url: service.url })
    const { email, password } = await signUp(service)
    const answer = await post(atHome.browser(), '/sign-in', { identifier: email, password })
    t.match(answer, { status: 200, cookies: { length: 3 } })
    t.match(answer.text, '<meta http-equiv="refresh" content="0;url=https://app.example/?a=1&amp;b=')
  })

  t.test('shows the same page for a wrong password and for an unknown account', async t => {
    const { email } = await signUp(service)
    const pages = []
    for (const identifier of [email, newUser().email, 'nobody-at-all', 'not@an@address', '@']) {
      const { status, text, cookies } = await post(browser(), '/sign-in', {
        identifier, password: wrong, remember: 'true'
      })
      t.strictSame({ status, cookies }, { status: 401, cookies: [] }, identifier)
      t.match(text, `value="${identifier}"`, 'what was typed is kept')
      t.match(text, /name="remember" value="true" checked/)
      t.notMatch(text, wrong, 'but not the password')
      pages.push(text.replace(`value="${identifier}"`, ''))
    }
    t.equal(new Set(pages).size, 1)
  })

  t.test('counts wrong passwords together with the API', async t => {
    const strict = await build(t, { LOGIN_RATE_LIMIT: '2/15m' }, { url: service.url })
    const { email, password } = await signUp(service)
    for (const path of ['/sign-in', '/v1/auth/login']) {
      const answer = path === '/sign-in'
        ? await post(strict.browser(), path, { identifier: email, password: wrong })
        : await strict.browser().post(path, { email, password: wrong })
      t.equal(answer.status, 401)
    }
    t.match(await post(strict.browser(), '/sign-in', { identifier: email, password }), {
      status: 429,
      headers: { 'content-type': /^text\/html/, 'retry-after': /^\d+$/ },
      cookies: [],
      text: new RegExp(`Please try again in \\d+ (seconds|minutes)[^]*value="${email}"`)
    })
    t.match(await strict.browser().post('/v1/auth/login', { email, password }), { status: 429 })
  })

  t.test('keeps what was typed, even if the request is refused before its form is read', async t => {
    const limited = await build(t, { RATE_LIMIT: '5/1h' }, { url: service.url })
    const fields = { identifier: 'ada"<b>', password: wrong, remember: 'true' }
    await post(limited.browser(), '/sign-in', fields)
    const { status, text } = await post(limited.browser(), '/sign-in', fields)
    t.equal(status, 429)
    t.match(text, /value="ada&quot;&lt;b&gt;"[^]*checked/)
    t.notMatch(text, wrong)
    const isolated = await build(
      t, {}, { url: `postgres://nobody@127.0.0.1:${await freePort()}/nothing`, ready: false }
    )
    t.match(await isolated.browser().get('/sign-in', html), { status: 200 })
    t.match(await post(isolated.browser(), '/sign-in', fields), {
      status: 503, headers: { 'retry-after': /^\d+$/ }, text: /not available right now[^]*value="ada/
    })
  })

  t.test('says what is missing, disabled or not confirmed', async t => {
    const { email, password } = await signUp(service)
    t.match(await post(browser(), '/sign-in', { identifier: '', password }), { status: 400, text: /empty/ })
    t.match(
      await post(browser(), '/sign-in', { identifier: email, password, admin: 'true' }),
      { status: 400 }
    )
    t.match(await post(browser(), '/sign-in', { identifier: 'x'.repeat(321), password }), { status: 400 })
    t.match(await browser().post('/sign-in', { identifier: email, password }, html), {
      status: 415, headers: { 'content-type': /^text\/html/ }
    })
    const verifying = await build(t, { REQUIRE_EMAIL_VERIFICATION: 'true' }, { url: service.url })
    const unverified = await post(verifying.browser(), '/sign-in', { identifier: email, password })
    t.match(unverified, { status: 403, text: /not confirmed yet[^]*formaction="\/sign-up\/link"/ })
    t.match(await post(verifying.browser(), '/sign-up/link', { identifier: email, password: '' }), {
      status: 303, headers: { location: '/check-inbox?sent=sign-up' }
    })
    await mailTo(verifying, email, 'email_verification')
    await service.sql('update users set disabled_at = now() where email = $1', [email])
    t.match(await post(browser(), '/sign-in', { identifier: email, password }), {
      status: 403, text: /disabled/
    })
  })

  t.test('refuses forms of other sites, and shows nothing of them', async t => {
    const { email, password } = await signUp(service)
    const paths = {
      '/sign-in': 'identifier', '/sign-up': 'email', '/forgot': 'email', '/sign-in/link': 'identifier'
    }
    for (const [path, name] of Object.entries(paths)) {
      for (const headers of [{ origin: 'https://evil.example' }, { 'sec-fetch-site': 'cross-site' }]) {
        const answer = await post(browser(), path, { [name]: email, password }, headers)
        t.match(answer, { status: 403, cookies: [], text: /came from another site/ }, path)
        t.notMatch(answer.text, email)
      }
    }
  })
})

t.test('a mail that is asked for', async t => {
  const kinds = {
    '/forgot': ['email', 'password_reset'], '/sign-in/link': ['identifier', 'magic_link']
  } as const

  t.test('is answered alike for every address, and sent only to an account', async t => {
    for (const [path, [name, kind]] of Object.entries(kinds)) {
      const { email } = await signUp(service)
      const unknown = newUser().email
      const answers = []
      for (const address of [unknown, email]) {
        const visitor = browser()
        const { status, headers, cookies, text } = await post(visitor, path, { [name]: address })
        const { 'x-request-id': _id, date: _date, ...others } = headers
        const page = await visitor.get(String(headers['location']), html)
        t.match(page.text, `<strong>${address}</strong>`)
        const seen = { status, others, cookies, text, page: page.text }
        answers.push(JSON.stringify(seen).replaceAll(address, '').replaceAll(encodeURIComponent(address), ''))
      }
      t.equal(answers[0], answers[1], path)
      await mailTo(service, email, kind)
      t.strictSame(mailsTo(service, unknown), [])
    }
  })

  t.test('needs an address', async t => {
    for (const [path, [name]] of Object.entries(kinds)) {
      for (const text of ['', 'ada', 'a@b@c']) {
        const answer = await post(browser(), path, { [name]: text })
        t.match(
          answer,
          { status: 400, cookies: [], text: /enter an email address[^]*aria-invalid/ },
          `${path} ${text}`
        )
      }
    }
  })

  t.test('is in the language of the page, which a cookie remembers', async t => {
    const { email } = await signUp(service)
    const visitor = browser()
    const german = await visitor.get('/forgot?lang=de', html)
    t.match(german, { text: /Neues Passwort wählen/, cookies: [/^lang_3000=de;.*HttpOnly/] })
    await post(visitor, '/forgot', { email }, { 'accept-language': 'en' })
    t.match(await mailTo(service, email, 'password_reset'), { language: 'de' })
    t.match(await visitor.get('/sign-in', html), { text: /lang="de"/ })
    t.match(await visitor.get('/sign-in?lang=<b>', html), { text: /lang="de"/, cookies: [] })
  })

  t.test('has its address only in a cookie, and the page does without it', async t => {
    const { headers } = await post(browser(), '/forgot', { email: 'ada@example.com' })
    t.equal(headers['location'], '/check-inbox?sent=password')
    t.match(await browser().get('/check-inbox?sent=password', html), { text: /the address that you entered/ })
    const cookie = `inbox_3000=${encodeURIComponent('<script>alert(1)</script>')}`
    t.notMatch((await browser().get('/check-inbox', { ...html, cookie })).text, '<script>alert')
    t.match(await browser().get('/check-inbox', { ...html, cookie: 'inbox_3000=%' }), { status: 200 })
    t.match(await browser().get('/check-inbox?sent=other', html), { status: 400 })
  })
})

t.test('the page to sign up', async t => {
  t.test('refuses what the API refuses, and keeps what was typed', async t => {
    const { email, password } = await signUp(service)
    const cases = [
      [{ email, password }, 409, /already exists/],
      [{ email: newUser().email, password: 'password' }, 422, /most common/],
      [{ email: 'ada', password }, 400, /enter an email address/],
      [{ email: newUser().email, password: '' }, 400, /empty/]
    ] as const
    for (const [fields, status, text] of cases) {
      const answer = await post(browser(), '/sign-up', { ...fields, name: 'Ada <Lovelace>' })
      t.match(answer, { status, text, cookies: [] })
      t.match(answer.text, /value="Ada &lt;Lovelace&gt;"/)
      t.match(answer.text, `value="${fields.email}"`)
    }
    t.match(await post(browser(), '/sign-up', { ...newUser(), name: '' }), { status: 303 })
    const named = newUser()
    await post(browser(), '/sign-up', { ...named, name: 'Ada Lovelace' })
    t.strictSame(await service.sql('select name from users where email = $1', [named.email]), [
      { name: 'Ada Lovelace' }
    ])
  })

  t.test('asks to check the inbox if addresses must be verified, also if the address is taken', async t => {
    const verifying = await build(t, { REQUIRE_EMAIL_VERIFICATION: 'true' }, { url: service.url })
    const { email, password } = await signUp(service)
    await service.sql('update users set email_verified_at = now() where email = $1', [email])
    const fresh = newUser()
    for (const address of [email, fresh.email]) {
      const visitor = verifying.browser()
      t.match(await post(visitor, '/sign-up', { email: address, password }), {
        status: 303,
        headers: { location: '/check-inbox?sent=sign-up' },
        cookies: [/^registration_3000=/, /^inbox_3000=/]
      })
    }
    await mailTo(verifying, email, 'registration_taken')
    await mailTo(verifying, fresh.email, 'email_verification')
  })
})

t.test('password managers find the fields, and the page that changes a password', async t => {
  const { text } = await browser().get('/sign-in', html)
  t.match(text, /name="identifier"[^>]*autocomplete="username"/)
  t.match(text, /name="password"[^>]*autocomplete="current-password"/)
  t.match((await browser().get('/sign-up', html)).text,
    /name="password"[^>]*autocomplete="new-password" passwordrules="minlength: 8;"/)
  t.match(
    await browser().get('/.well-known/change-password'),
    { status: 303, headers: { location: '/forgot' } }
  )
})

t.test('the start page', async t => {
  t.test('of development shows the mails that were not sent, to a browser on this machine', async t => {
    const { email } = await signUp(service)
    await mailTo(service, email, 'email_verification')
    const local = { ...html, host: 'localhost:3000' }
    const start = await browser().get('/', local)
    t.match(start, { status: 200, text: /Latchkey is running[^]*Confirm your/ })
    const [, path = ''] = /href="(\/dev\/mails\/\d+)"/.exec(start.text) ?? []
    t.match(await browser().get(path, local), { text: new RegExp(`${email}[^]*#token=lkl_`) })
    t.match(await browser().get(`${path}/html`, local), {
      headers: { 'content-security-policy': /sandbox/ }, text: /<!doctype html>/
    })
    for (const headers of [
      { host: 'rebound.example' }, { origin: 'http://localhost:5173' }, { host: 'localhost.evil.example' },
      { 'x-forwarded-host': 'abc.tunnel.example' }, { forwarded: 'for=203.0.113.9' },
      { 'sec-fetch-site': 'cross-site' }
    ]) {
      t.match(await browser().get(path, { ...local, ...headers }), { status: 404 })
      t.notMatch((await browser().get('/', { ...local, ...headers })).text, '/dev/mails/')
    }
    for (const id of ['0', '-1', 'x', '99999999999', '1e1']) {
      t.match(await browser().get(`/dev/mails/${id}`, local), { status: 404 })
    }
    const { url } = service
    t.match((await browser().get('/check-inbox?sent=password', local)).text,
      /Emails are not sent in development\. <a href="\/">Open the emails/)
    const onAnotherPort = await build(t, { PORT: '4000', DATABASE_URL: url }, { url })
    t.match((await onAnotherPort.browser().get('/', { ...html, host: 'localhost:4000' })).text,
      />PORT=4000 npx latchkey users create [^]*>PORT=4000 npx latchkey clients create /)

    const remote = await service.app.inject({ url: path, headers: local, remoteAddress: '192.0.2.1' })
    t.equal(remote.statusCode, 404)
  })

  t.test('of production leads to the sign-in page, or to HOME_URL', async t => {
    const production = {
      NODE_ENV: 'production',
      ISSUER_URL: 'https://auth.example.com/login',
      DATABASE_URL: service.url,
      ARGON2_MEMORY_KIB: '7168',
      ARGON2_TIME_COST: '5'
    }
    const { browser } = await build(t, production, { url: service.url })
    t.match(await browser().get('/', html), { status: 303, headers: { location: '/login/sign-in' } })
    t.match(await browser().get('/'), { status: 200, body: { name: 'Latchkey' } })
    t.match(await browser().get('/dev/mails/1', html), { status: 404 })
    const home = { ...production, HOME_URL: 'https://app.example.com/' }
    t.match(await (await build(t, home, { url: service.url })).browser().get('/', html), {
      status: 303, headers: { location: 'https://app.example.com/' }
    })
  })
})

t.test('failures are pages for people, and documents for programs', async t => {
  const pages = { '/nothing': 404, '/sign-in/link': 405, '/%zz': 400 }
  for (const [path, status] of Object.entries(pages)) {
    t.match(await browser().get(path), { status, headers: { 'content-type': /problem\+json/ } }, path)
    if (status === 400) continue
    const page = await browser().get(path, { ...html, 'accept-language': 'de' })
    t.match(page, { status, headers: { 'content-type': /^text\/html/, 'content-language': 'de' } }, path)
    t.match(page.text, String(page.headers['x-request-id']))
  }
  t.match(await browser().get('/v1/me', html), { status: 401, headers: { 'content-type': /problem\+json/ } })
})

t.test('failures are told in the language of the browser', async t => {
  const limited = await build(t, { RATE_LIMIT: '3/1m' })
  const german = { ...html, 'accept-language': 'de' }
  const visitor = limited.browser()
  const cases = [
    ['/nowhere', 404, 'Unter dieser Adresse gibt es keine Seite.'],
    ['/v1/auth/login', 405, 'Diese Seite lässt sich so nicht öffnen'],
    ['/sign-in?request=forged', 400, 'Die Anmeldung hat zu lange gedauert'],
    ['/oauth/authorize', 429, /Bitte versuchen Sie es in \d+ Sekunden noch einmal\./]
  ] as const
  for (const [path, status, text] of cases) {
    const page = await visitor.get(path, german)
    t.match(page, { status, text }, path)
    t.match(page.text, '<html lang="de"', path)
  }
})
