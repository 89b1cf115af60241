import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import type { Environment } from '../../src/config/environment.ts'
import { freePort } from '../../src/database/embedded/server.ts'
import { missing, phone, start, type Tab } from '../support/chromium.ts'
import { build, newUser, type Service } from '../support/app.ts'
import { mailTo } from '../support/inbox.ts'
import { waitUntil } from '../support/polling.ts'
import { registerUser } from '../support/registered-user.ts'
import type { Teardown } from '../support/teardown.ts'
import { temporaryFolder } from '../support/temporary-folder.ts'
import { t } from '../support/test.ts'

const kinds = ['email-verification', 'password-reset', 'magic-link'] as const
type LinkPath = typeof kinds[number]

/** Starts the service on a port, so that a browser can reach it. */
async function serve (t: Teardown, overrides: Environment = {}): Promise<Service & { origin: string }> {
  const port = await freePort()
  const origin = `http://localhost:${port}`
  const service = await build(t, { ISSUER_URL: origin, ...overrides })
  await service.app.listen({ host: '127.0.0.1', port })
  return { ...service, origin }
}

/** Requests a link, and returns its token from the mail. */
async function requestLink (service: Service, kind: LinkPath, email: string): Promise<string> {
  const loggedBefore = service.logs.length
  const { status } = await service.browser().post(`/v1/auth/${kind}`, { email })
  if (status !== 202) throw new Error(`the mail was not requested: ${status}`)
  return await waitUntil(`a mail to ${email}`, () => service.logs
    .slice(loggedBefore)
    .map(line => JSON.stringify(line))
    .filter(line => line.includes(email))
    .map(line => new RegExp(`/${kind}#token=(lkl_[\\w-]+)`).exec(line)?.[1])
    .find(token => token !== undefined))
}

const form = { 'content-type': 'application/x-www-form-urlencoded' }
/** The field for the account's current password. */
const currentPasswordField = ({ page }: Tab) => page.locator('input[name=password]')
const confirmWithPassword = 'Confirm with this password'
const confirmWithNewPassword = 'Save password and confirm'
const readHeading = async ({ page }: Tab) => await page.locator('h1').innerText()
const readOutcome = async ({ page }: Tab) => await page.locator('main').innerText()
/** Presses the page's button, or the one with this name, and returns the response's status. */
async function press ({ page }: Tab, name?: string) {
  const responded = page.waitForResponse(response => response.request().method() === 'POST')
  const loaded = page.waitForEvent('load')
  await (name === undefined ? page.locator('button.button') : page.getByRole('button', { name })).click()
  const status = (await responded).status()
  await loaded
  return status
}

/** Opens the URL of a link, and returns the status of the page that the script asks for. */
async function open ({ page }: Tab, url: string) {
  const responded = page.waitForResponse(response => response.request().method() === 'POST')
  await page.goto(url, { waitUntil: 'commit' })
  const response = await responded
  await response.finished()
  await page.waitForURL('**/open')
  await page.waitForLoadState()
  return response.status()
}

t.test('the pages of mailed links', async t => {
  const service = await build(t, { SERVICE_NAME: 'Ünïcorn & <Söhne>' })
  const browser = service.browser()

  t.test('are served with a content security policy that allows only their own script and style', async t => {
    for (const kind of kinds) {
      const { status, headers, text } = await browser.get(`/${kind}`)
      t.match(
        { status, headers },
        {
          status: 200,
          headers: {
            'content-type': 'text/html; charset=utf-8',
            'content-security-policy':
              "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; " +
              "form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
            'referrer-policy': 'no-referrer',
            'cache-control': 'no-store',
            'x-frame-options': 'DENY',
            vary: /accept-language/
          }
        }
      )
      t.notMatch(text, /<script(?! src="\/assets\/)|<style|style=|\son\w+=|https?:|Söhne>/)
      t.match(text, 'Ünïcorn &amp; &lt;Söhne&gt;')
      t.match(await browser.send('HEAD', `/${kind}`), {
        status: 200,
        text: '',
        headers: { 'content-length': String(Buffer.byteLength(text)) }
      })
      const loaded = [...text.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, url = '']) => url)
      const assets = loaded.filter(url => url.startsWith('/assets/'))
      t.equal(assets.length, 2)
      for (const url of assets) {
        t.match(await browser.get(url), {
          status: 200,
          headers: {
            'cache-control': 'public, max-age=31536000, immutable',
            'content-type': /^text\/(css|javascript); charset=utf-8$/
          }
        })
        t.match(await browser.get(url.replace(/v=.*/, 'v=another')), {
          status: 200,
          headers: { 'cache-control': 'no-store' }
        })
      }
    }
  })

  t.test('are in the language that the browser requests', async t => {
    const languageFor = async (header?: string) =>
      /<html lang="(\w+)">/.exec(
        (await browser.get('/password-reset', header === undefined ? {} : { 'accept-language': header })).text
      )?.[1]
    t.strictSame(
      await Promise.all(
        [undefined, 'de', 'de-CH, en;q=0.5', 'fr, de;q=0.3', 'fr', '<script>'].map(languageFor)
      ),
      ['en', 'de', 'de', 'de', 'en', 'en']
    )
    t.match(await browser.post('/magic-link', 'token=lkl_x', { ...form, 'accept-language': 'de' }), {
      status: 410,
      text: /Dieser Link funktioniert nicht mehr/,
      headers: { 'content-language': 'de' }
    })
  })

  t.test('say before a sign-in that it removes the password of an unconfirmed address', async t => {
    const { email, password } = await registerUser(service)
    const openPage = async () => {
      const token = await requestLink(service, 'magic-link', email)
      return { token, ...await browser.post('/magic-link/open', `token=${token}`, form) }
    }
    const { token, status, text } = await openPage()
    t.match({ status, text }, { status: 200, text: /the password that was set at sign-up stops working/ })
    t.equal((await browser.post('/magic-link', `token=${token}`, form)).status, 303)
    t.equal((await service.browser().post('/v1/auth/login', { email, password })).status, 401)
    t.notMatch(await openPage(), { text: /stops working/ }, 'once it is confirmed')
  })

  t.test('set the first password of an account without the words for a change', async t => {
    const { email } = await registerUser(service)
    const openPage = async () => {
      const token = await requestLink(service, 'password-reset', email)
      return await browser.post('/password-reset/open', `token=${token}`, form)
    }
    t.match(await openPage(), { status: 200, text: /<h1>Choose a new password.*signed out on all/s })
    await service.sql('update users set password_hash = null where email = $1', [email])
    const { text } = await openPage()
    t.match(text, /<h1>Set your password/)
    t.notMatch(text, 'signed out')
  })

  t.test('accept only their own form', async t => {
    const { email } = await registerUser(service)
    const token = await requestLink(service, 'magic-link', email)
    for (const headers of [
      { origin: 'https://evil.example' },
      { origin: 'null' },
      { origin: 'null', 'sec-fetch-site': 'cross-site' },
      { 'sec-fetch-site': 'same-site' }
    ]) {
      t.match(
        await browser.post('/magic-link', `token=${token}`, { ...form, ...headers }),
        { status: 403, cookies: [], headers: { 'content-type': /^text\/html/ } },
        JSON.stringify(headers)
      )
    }
    t.match(await browser.post('/magic-link', { token }), {
      status: 415,
      headers: { 'content-type': /^text\/html/ }
    })
    t.match(await browser.post('/magic-link', `token=${token}&roles=admin`, form), { status: 400 })
    t.match(await browser.post('/magic-link', `token=${token}&__proto__=x`, form), { status: 400 })
    t.match(await browser.post('/magic-link', '', form), { status: 400 })
    t.match(await browser.post('/magic-link', `token=${'x'.repeat(70_000)}`, form), { status: 413 })
    t.match(await browser.send('DELETE', '/magic-link'), { status: 405 })
    t.match(
      await browser.post('/magic-link', `token=${token}`, {
        ...form,
        origin: 'null',
        'sec-fetch-site': 'same-origin'
      }),
      { status: 303, cookies: [/^refresh_token_3000=/, /^session_3000=/, /^device_3000=/] },
      'none of these requests used the link'
    )
    for (const path of ['/magic-link', '/magic-link/open']) {
      const { text } = await browser.post(path, 'token=%22%3E%3Cscript%3Ealert(1)%3C/script%3E', form)
      t.notMatch(text, '<script>alert')
    }
    const shown = 'username=%3Cimg%20src=x%3E&purpose=%22%3E%3Cimg&methods=password%20%3Cimg'
    t.match(await browser.post('/email-verification', `token=lkl_x&new_password=&${shown}`, form), {
      status: 400, text: /&lt;img src=x&gt;/
    })
    t.notMatch(
      (await browser.post('/email-verification', `token=lkl_x&new_password=&${shown}`, form)).text,
      '<img'
    )
  })

  t.test('accept a link once, even if it is posted many times at once', async t => {
    const { email } = await registerUser(service)
    const token = await requestLink(service, 'magic-link', email)
    const responses = await Promise.all(
      Array.from(
        { length: 8 },
        async () => await service.browser().post('/magic-link', `token=${token}`, form)
      )
    )
    t.strictSame(responses.map(({ status }) => status).sort(), [303, ...Array(7).fill(410)])
    t.equal(responses.flatMap(({ cookies }) => cookies).length, 3)
  })

  t.test('say when a throttled network can try again, and keep the form', async t => {
    const limited = await build(t, { RATE_LIMIT: '5/1h' }, { url: service.url })
    await limited.browser().post('/password-reset', 'token=lkl_x', form)
    t.match(await limited.browser().post('/password-reset', 'token=lkl_x&new_password=x', form), {
      status: 429,
      headers: { 'content-type': /^text\/html/, 'retry-after': /^\d+$/ },
      text: /try again in \d+ minutes[^]*<form/
    })
  })

  t.test('say if the database is unreachable, and keep the token for another attempt', async t => {
    const isolated = await build(
      t,
      {},
      { url: `postgres://nobody@127.0.0.1:${await freePort()}/nothing`, ready: false }
    )
    t.match(await isolated.browser().get('/magic-link'), { status: 200 })
    const { status, headers, text, cookies } = await isolated
      .browser()
      .post('/magic-link', 'token=lkl_kept', form)
    t.match(
      { status, headers, text, cookies },
      {
        status: 503,
        headers: { 'content-type': /^text\/html/, 'retry-after': /^\d+$/ },
        text: /not available right now[^]*value="lkl_kept"/,
        cookies: []
      }
    )
  })

  t.test('name each rule that a new password breaks', async t => {
    const { email } = await registerUser(service)
    await service.sql("update users set name = 'Ada Lovelace' where email = $1", [email])
    const token = await requestLink(service, 'password-reset', email)
    const rejected = {
      'x7!': /fewer than 8/,
      [`a phrase ${'y'.repeat(300)}`]: /more than 256/,
      password: /most common/,
      [`my ${email}`]: /your email address/,
      'that is ada lovelace': /your name/,
      'the ünïcorn & <söhne> themselves': /this service/
    }
    for (const [password, reason] of Object.entries(rejected)) {
      const { status, text } = await browser.post(
        '/password-reset',
        new URLSearchParams({ token, new_password: password }).toString(),
        form
      )
      t.match({ status, text }, { status: 422, text: reason }, password)
      t.match(text, `value="${token}"`, 'the token is kept')
      if (password !== 'password') {
        t.notMatch(
          text,
          password.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;'),
          'the password is not kept'
        )
      }
    }
    t.match(await browser.post('/password-reset', `token=${token}&new_password=${'x'.repeat(1025)}`, form), {
      status: 400
    })
    t.match(
      await browser.post(
        '/password-reset',
        `token=${token}&new_password=ein+Satz+mit+gr%C3%BCnen+%C3%84pfeln`,
        form
      ),
      { status: 303 }
    )
    t.match(await browser.post('/v1/auth/login', { email, password: 'ein Satz mit grünen Äpfeln' }), {
      status: 200
    })
  })
})

t.test('the pages show the brand', async t => {
  const folder = temporaryFolder(t)
  const logo = join(folder, 'logo')
  const brand = {
    BRAND_NAME: 'Acme <b>',
    BRAND_COLOR: '#FFD400',
    BRAND_LOGO: logo,
    SUPPORT_URL: 'https://www.example.com/help?a=1&b="2"',
    PRIVACY_URL: 'https://www.example.com/privacy',
    TERMS_URL: 'https://www.example.com/terms'
  }
  const script = '<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
  writeFileSync(logo, script)
  const service = await build(t, { ...brand, ISSUER_URL: 'http://localhost:3000/sso' })
  const browser = service.browser()
  const { text } = await browser.get('/password-reset')
  t.match(text, '<title>Choose a new password · Acme &lt;b&gt;</title>')
  t.notMatch(text, '<b>')
  for (const url of ['help?a=1&amp;b=%222%22', 'privacy', 'terms']) {
    t.ok(text.includes(`<a href="https://www.example.com/${url}">`), url)
  }

  await t.test('whose colour is in the style sheet, at a URL of its own', async t => {
    const [, url = ''] = /<link rel="stylesheet" href="\/sso([^"]+)"/.exec(text) ?? []
    const { text: style, headers } = await browser.get(url)
    t.match(headers, { 'cache-control': 'public, max-age=31536000, immutable' })
    t.match(style, /--brand: #17181c[^]*:root\{--brand:#ffd400;--on-brand:#000000;/)
    const other = await build(t, {}, { url: service.url })
    t.notMatch((await other.browser().get('/password-reset')).text, url)
    t.notMatch((await other.browser().get(url)).text, '#ffd400')
  })

  await t.test('whose logo is an image by its content, and cannot run a script', async t => {
    const [, url = ''] = /<img src="\/sso(\/assets\/logo\?v=[\w-]{16})" alt="">/.exec(text) ?? []
    t.match(await browser.get(url), {
      status: 200,
      text: script,
      headers: {
        'content-type': 'image/svg+xml',
        'content-security-policy': "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox",
        'x-content-type-options': 'nosniff',
        'cross-origin-resource-policy': 'cross-origin',
        'cache-control': 'public, max-age=31536000, immutable'
      }
    })
    const png = Buffer.from('89504e470d0a1a0a0000000d49484452', 'hex')
    writeFileSync(logo, png)
    const other = await build(t, brand, { url: service.url })
    t.match(await other.browser().get('/assets/logo'), {
      status: 200, headers: { 'content-type': 'image/png', 'cache-control': 'no-store' }
    })
    const plain = await build(t, {}, { url: service.url })
    t.match(await plain.browser().get('/assets/logo'), { status: 404 })
  })
})

t.test('in a browser', { skip: missing ?? false }, async t => {
  const service = await serve(t)
  const { tab } = await start(t)
  const screenshots = mkdtempSync(join(tmpdir(), 'latchkey-pages-'))
  if (!process.env['KEEP_SCREENSHOTS']) {
    t.teardown(() => {
      rmSync(screenshots, { recursive: true, force: true })
    })
  } else t.comment(screenshots)
  /** Opens a link. The script shows what it is for. Returns the status of the answer. */
  const openLink = async (visit: Tab, kind: LinkPath, token: string) =>
    await open(visit, `${service.origin}/${kind}#token=${token}`)
  const takeScreenshot = async ({ page }: Tab, name: string) => {
    await page.screenshot({ path: join(screenshots, `${name}.png`), fullPage: true })
  }
  /** Asserts what must hold for every visit. */
  const assertCleanVisit = async (t: Test, { page, requests, complaints }: Tab, token: string) => {
    t.strictSame(complaints, [], 'the console is empty')
    t.ok(requests.length >= 3)
    for (const request of requests) {
      const [line = ''] = request.url().split('#')
      t.ok(line.startsWith(service.origin), 'no other site is contacted')
      t.notOk(
        [line, ...Object.values(await request.allHeaders())].some(text => text.includes(token)),
        'the token is only in request bodies'
      )
    }
    t.notOk(
      service.logs.some(line => line['msg'] === 'request' && JSON.stringify(line).includes(token)),
      'the token is not in the request log'
    )
    t.ok(
      await page.evaluate('document.documentElement.scrollWidth <= window.innerWidth'),
      'the page is not wider than the window'
    )
  }

  t.test('each link works on a phone, and its token disappears from the address bar', async t => {
    const { email, password, browser } = await registerUser(service)

    await t.test('to confirm an address, with the password of the account', async t => {
      const token = await requestLink(service, 'email-verification', email)
      const visit = await tab(phone)
      await openLink(visit, 'email-verification', token)
      t.equal(visit.page.url(), `${service.origin}/email-verification/open`)
      t.match(await readOutcome(visit), `You confirm that ${email} is yours.`)
      await takeScreenshot(visit, 'verification')
      await currentPasswordField(visit).fill(password)
      t.equal(await press(visit, confirmWithPassword), 303)
      t.equal(await readHeading(visit), 'Confirmed')
      t.equal(visit.page.url(), `${service.origin}/email-verification/done`, 'a reload submits nothing')
      await takeScreenshot(visit, 'verification-done')
      await assertCleanVisit(t, visit, token)
      t.match(await browser.post('/v1/auth/login', { email, password: 'x' }), { status: 401 })
      t.match(
        await service.sql('select 1 from users where email = $1 and email_verified_at is not null', [email]),
        { length: 1 }
      )
    })

    await t.test('to choose a password, after one that is too weak', async t => {
      const token = await requestLink(service, 'password-reset', email)
      const visit = await tab(phone)
      await openLink(visit, 'password-reset', token)
      t.match(await readOutcome(visit), `for ${email}`)
      t.equal(await visit.page.locator('[autocomplete=username]').inputValue(), email)
      await takeScreenshot(visit, 'password')
      const field = visit.page.getByLabel('New password')
      t.equal(await field.getAttribute('autocomplete'), 'new-password')
      await field.fill('password')
      t.equal(await press(visit), 422)
      t.match(await readOutcome(visit), /cannot be used[^]*most common/)
      t.ok(
        await visit.page.waitForFunction("document.activeElement.id === 'failure'"),
        'a screen reader announces it'
      )
      t.equal(await field.inputValue(), '')
      await visit.page.getByRole('button', { name: 'Show (password)' }).click()
      t.equal(await field.getAttribute('type'), 'text')
      await takeScreenshot(visit, 'password-rejected')
      await field.fill('a fresh phrase of my own')
      t.equal(await press(visit), 303)
      t.equal(await readHeading(visit), 'Your password is saved')
      t.equal(await visit.page.locator('form').count(), 0)
      t.equal(
        await visit.page.getByRole('link', { name: 'Go to sign-in' }).getAttribute('href'), '/sign-in')
      await assertCleanVisit(t, visit, token)
      t.match(await browser.post('/v1/auth/login', { email, password: 'a fresh phrase of my own' }), {
        status: 200
      })
    })

    await t.test('to sign in, with the session only in the cookie', async t => {
      const token = await requestLink(service, 'magic-link', email)
      const visit = await tab(phone)
      await openLink(visit, 'magic-link', token)
      t.match(await readOutcome(visit), `as ${email}`)
      await visit.page.getByLabel('Stay signed in').check()
      await takeScreenshot(visit, 'magic-link')
      t.equal(await press(visit), 303)
      t.equal(await readHeading(visit), 'You are signed in')
      const cookies = await visit.page.context().cookies()
      t.match(
        cookies.find(({ name }) => name.startsWith('refresh_token_')),
        { httpOnly: true, sameSite: 'Strict', expires: Number }
      )
      t.ok(
        (cookies.find(({ name }) => name.startsWith('refresh_token_'))?.expires ?? 0) > Date.now() / 1_000,
        'the session is remembered'
      )
      t.notMatch(await visit.page.content(), /lkl_|lkr_|eyJ/)
      await assertCleanVisit(t, visit, token)
      t.equal(
        (await visit.page.request.post(`${service.origin}/v1/auth/refresh`)).status(),
        200
      )
      await visit.page.goBack()
      t.ok(await visit.page.getByLabel('Link from the email').isVisible(), 'going back submits nothing')
      await visit.page.goForward()
      t.equal(await readHeading(visit), 'You are signed in')
      t.strictSame(visit.complaints, [])
    })
  })

  t.test('opening a link does not use it until the button is pressed', async t => {
    const { email, password } = await registerUser(service)
    for (const kind of kinds) {
      const token = await requestLink(service, kind, email)
      for (let time = 0; time < 10; time++) {
        await fetch(`${service.origin}/${kind}?utm_source=mail`, { headers: { 'sec-purpose': 'prefetch' } })
        await fetch(`${service.origin}/${kind}`, { method: 'HEAD' })
      }
      const scanner = await tab()
      await openLink(scanner, kind, token)
      t.strictSame(
        scanner.requests.filter(request => request.method() !== 'GET').map(request => request.url()),
        [`${service.origin}/${kind}/open`], 'even a scanner with scripts only learns what the link is for'
      )
      const visit = await tab()
      await openLink(visit, kind, token)
      if (kind === 'password-reset') {
        await visit.page.getByLabel('New password').fill('a phrase after all of that')
      }
      if (kind === 'email-verification') {
        await currentPasswordField(visit).fill(password)
      }
      t.equal(await press(visit, kind === 'email-verification' ? confirmWithPassword : undefined), 303, kind)
      await assertCleanVisit(t, visit, token)
    }
  })

  t.test('a link that confirms an address asks for the password, or a new one to replace it', async t => {
    const { email, password } = await registerUser(service)
    const token = await requestLink(service, 'email-verification', email)
    const visit = await tab(phone)
    await openLink(visit, 'email-verification', token)
    t.match(await readOutcome(visit), /enter that password[^]*choose a new one/)
    t.equal(await currentPasswordField(visit).getAttribute('autocomplete'), 'current-password')
    const newPasswordField = visit.page.getByLabel('New password')
    t.equal(await newPasswordField.getAttribute('autocomplete'), 'new-password')
    await takeScreenshot(visit, 'proof')
    await currentPasswordField(visit).fill('not the password')
    t.equal(await press(visit, confirmWithPassword), 403)
    t.match(await readOutcome(visit), /This password is wrong/)
    t.equal(await currentPasswordField(visit).getAttribute('aria-invalid'), 'true')
    await takeScreenshot(visit, 'proof-wrong')
    await newPasswordField.fill('password')
    t.equal(await press(visit, confirmWithNewPassword), 422)
    t.match(await readOutcome(visit), /cannot be used[^]*most common/)
    t.equal(await newPasswordField.getAttribute('aria-invalid'), 'true')
    t.ok(await currentPasswordField(visit).isVisible(), 'the other form stays visible')
    await takeScreenshot(visit, 'proof-rejected')
    await newPasswordField.fill('a phrase that I chose just now')
    t.equal(await press(visit, confirmWithNewPassword), 303)
    t.equal(await readHeading(visit), 'Confirmed')
    await assertCleanVisit(t, visit, token)
    for (const [each, status] of [[password, 401], ['a phrase that I chose just now', 200]] as const) {
      t.match(await service.browser().post('/v1/auth/login', { email, password: each }), { status })
    }
  })

  t.test('in the browser that registered, one press verifies the address', async t => {
    const visit = await tab(phone)
    const { email, password } = newUser()
    await visit.page.goto(`${service.origin}/email-verification`)
    const data = { email, password, refresh_token_delivery: 'body' }
    t.equal((await visit.page.request.post(`${service.origin}/v1/auth/register`, { data })).status(), 201)
    const name = `registration_${new URL(service.origin).port}`
    const cookies = async () => (await visit.page.context().cookies()).filter(cookie => cookie.name === name)
    t.match(await cookies(), [{ httpOnly: true, sameSite: 'Strict' }])
    const token = await requestLink(service, 'email-verification', email)
    await visit.page.evaluate(`window.location.hash = 'token=${token}'`)
    await visit.page.waitForURL('**/open')
    t.equal(await visit.page.locator('[type=password]').count(), 0)
    t.equal(await press(visit), 303)
    t.strictSame(await cookies(), [])
    await assertCleanVisit(t, visit, token)
  })

  t.test('a change of address asks for the password of the account, or to sign in', async t => {
    const { email, password, browser, id } = await registerUser(service)
    browser.accessToken = (await browser.post('/v1/auth/login', { email, password })).body.access_token
    for (const hasPassword of [true, false]) {
      const newEmail = newUser().email
      if (!hasPassword) await service.sql('update users set password_hash = null where id = $1', [id])
      await browser.post('/v1/me/email', { ...hasPassword && { password }, email: newEmail })
      const { token } = await mailTo(service, newEmail, 'email_change')
      const visit = await tab(phone)
      await openLink(visit, 'email-verification', token)
      t.match(
        await readOutcome(visit),
        hasPassword ? /Enter the password of the account[^]*sign in/ : /In this browser, sign in/
      )
      t.match(await readOutcome(visit), `Your account will use ${newEmail} from now on.`)
      t.notMatch(await visit.page.content(), email, 'the new mailbox does not learn the other address')
      t.equal(await visit.page.locator('[name=new_password]').count(), 0)
      t.equal(await visit.page.locator('button.button').count(), hasPassword ? 1 : 0)
      await takeScreenshot(visit, hasPassword ? 'change' : 'change-sign-in')
      if (!hasPassword) continue
      await currentPasswordField(visit).fill(password)
      t.equal(await press(visit), 303)
      await assertCleanVisit(t, visit, token)
    }
  })

  t.test('the page of an invalid link mails a new one of its kind', async t => {
    const { email } = await registerUser(service)
    const mails = { 'magic-link': 'magic_link', 'password-reset': 'password_reset' } as const
    for (const kind of ['magic-link', 'password-reset'] as const) {
      const token = await requestLink(service, kind, email)
      await mailTo(service, email, mails[kind])
      await service.sql('update one_time_tokens set expires_at = now()')
      const visit = await tab(phone)
      t.equal(await openLink(visit, kind, token), 410)
      t.equal(await readHeading(visit), 'This link no longer works')
      const expected = kind === 'magic-link' ? 'work once and expire after 10 minutes' : 'works once'
      t.match(await readOutcome(visit), expected)
      await takeScreenshot(visit, `invalid-${kind}`)
      await assertCleanVisit(t, visit, token)
      await visit.page.getByLabel('Email').fill(email)
      t.equal(await press(visit), 303)
      const { link = '' } = await mailTo(service, email, mails[kind])
      t.equal(await open(visit, link), 200)
      t.match(await readOutcome(visit), email)
    }
    const unverified = await registerUser(service)
    await mailTo(service, unverified.email, 'email_verification')
    const visit = await tab()
    t.equal(await openLink(visit, 'email-verification', 'lkl_none'), 410)
    await visit.page.getByLabel('Email').fill(unverified.email)
    t.equal(await press(visit), 303)
    const { link = '' } = await mailTo(service, unverified.email, 'email_verification')
    t.equal(await open(visit, link), 200)
  })

  t.test('a link that confirmed its address says so when it is opened again', async t => {
    const { email, password } = await registerUser(service)
    const token = await requestLink(service, 'email-verification', email)
    const visit = await tab()
    await openLink(visit, 'email-verification', token)
    const second = await tab()
    await openLink(second, 'email-verification', token)
    await currentPasswordField(visit).fill(password)
    t.equal(await press(visit, confirmWithPassword), 303)
    for (const again of [visit, second]) {
      if (again === visit) t.equal(await openLink(again, 'email-verification', token), 200)
      else {
        await currentPasswordField(again).fill(password)
        t.equal(await press(again, confirmWithPassword), 200, 'the page was open before')
      }
      t.equal(await readHeading(again), 'Already confirmed')
      t.match(await readOutcome(again), `${email} is confirmed.`)
    }
    await takeScreenshot(visit, 'already-confirmed')
    await service.sql('update users set email_version = email_version + 1 where email = $1', [email])
    t.equal(await openLink(visit, 'email-verification', token), 410, 'the account has another address now')
    await service.sql('update users set email_verified_at = null where email = $1', [email])
    t.equal(await openLink(visit, 'email-verification', token), 410)
    t.match(
      await service.browser().post('/v1/auth/email-verification/confirm', { token, password }),
      { status: 410 }, 'a used link never works again'
    )
  })

  t.test('another link that is pasted into the open page replaces the first', async t => {
    const { email } = await registerUser(service)
    const visit = await tab()
    t.equal(await openLink(visit, 'magic-link', 'lkl_none'), 410)
    const token = await requestLink(service, 'magic-link', email)
    await visit.page.evaluate(`window.location.hash = 'token=${token}'`)
    await visit.page.getByText(`as ${email}`).waitFor()
    t.equal(await press(visit), 303)
    await assertCleanVisit(t, visit, token)
  })

  t.test('the link to the other language keeps the link, and going back leaves the page', async t => {
    const { email } = await registerUser(service)
    const token = await requestLink(service, 'magic-link', email)
    const visit = await tab()
    await visit.page.goto(`${service.origin}/livez`)
    await openLink(visit, 'magic-link', token)
    await visit.page.getByText('Deutsch').click()
    await visit.page.getByText(`als ${email}`).waitFor()
    await visit.page.goBack()
    await visit.page.getByLabel('Link aus der E-Mail').waitFor()
    await visit.page.goBack()
    await visit.page.waitForURL('**/livez')
    await assertCleanVisit(t, visit, token)
  })

  t.test('an invalid token is not shown and does nothing', async t => {
    for (const hash of [
      'token=<script>alert(1)</script>', 'token=%22%3E%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E',
      `token=${'x'.repeat(5_000)}`,
      'token=lkl_%00', '%', 'token=javascript:alert(1)'
    ]) {
      const visit = await tab()
      let alerted = false
      visit.page.on('dialog', dialog => {
        alerted = true
        dialog.dismiss().catch(() => {})
      })
      const url = `${service.origin}/email-verification#${hash}`
      if (hash.startsWith('token=')) t.ok([400, 410].includes(await open(visit, url)), hash)
      else await visit.page.goto(url)
      t.equal(await visit.page.locator('img, main script').count(), 0)
      t.notOk(alerted)
      t.strictSame(visit.complaints, [])
      await visit.page.context().close()
    }
  })

  t.test('a page without a token asks for the code', async t => {
    const visit = await tab(phone)
    await visit.page.goto(`${service.origin}/password-reset`)
    t.ok(await visit.page.getByLabel('Link from the email').isVisible())
    await takeScreenshot(visit, 'no-link')
    t.strictSame(visit.complaints, [])
  })

  t.test('without JavaScript a field takes the whole link or its code, and forms do the same', async t => {
    const { email, password } = await registerUser(service)
    for (const kind of kinds) {
      const token = await requestLink(service, kind, email)
      const visit = await tab({ ...phone, javaScriptEnabled: false, locale: 'de-DE' })
      await visit.page.goto(`${service.origin}/${kind}#token=${token}`)
      const field = visit.page.getByLabel('Link aus der E-Mail')
      await field.fill('nichts')
      t.equal(await press(visit), 410)
      await visit.page.goBack()
      await field.fill({
        'password-reset': ` ${service.origin}/${kind}#token=${token} `,
        'magic-link': `${service.origin}/${kind}#token=${token.slice(0, 20)} ${token.slice(20)}`,
        'email-verification': token
      }[kind])
      if (kind === 'magic-link') await takeScreenshot(visit, 'no-script')
      t.equal(await press(visit), 200)
      t.match(await readOutcome(visit), email)
      if (kind === 'password-reset') {
        t.notOk(await visit.page.getByText('Anzeigen').isVisible())
        await visit.page.getByLabel('Neues Passwort').fill('passwort')
        t.equal(await press(visit), 422)
        await visit.page.getByText('häufigsten Passwörtern').waitFor()
        t.match(await readOutcome(visit), email, 'the address is kept')
        await takeScreenshot(visit, 'no-script-rejected')
        await visit.page.getByLabel('Neues Passwort').fill('ein Satz von mir allein')
      }
      if (kind === 'email-verification') {
        await currentPasswordField(visit).fill('falsch')
        t.equal(await press(visit, 'Mit diesem Passwort bestätigen'), 403)
        await visit.page.getByText('Dieses Passwort ist falsch').waitFor()
        t.match(await readOutcome(visit), email)
        await currentPasswordField(visit).fill(password)
        await takeScreenshot(visit, 'no-script-proof')
      }
      await visit.page.locator('.button').first().click()
      await visit.page.locator('form').waitFor({ state: 'detached' })
      t.match(await readHeading(visit), /^(Bestätigt|Ihr Passwort ist gespeichert|Sie sind angemeldet)$/)
      t.strictSame(visit.complaints, [])
      t.notOk(visit.page.url().includes('?'))
      await visit.page.context().close()
    }
    t.match(await service.browser().post('/v1/auth/login', { email, password: 'ein Satz von mir allein' }), {
      status: 200
    })
  })

  t.test('a page can be shown in dark mode and in German', async t => {
    const visit = await tab({ ...phone, locale: 'de-DE', colorScheme: 'dark' })
    t.equal(await openLink(visit, 'password-reset', 'lkl_none'), 410)
    t.equal(await visit.page.evaluate('document.documentElement.lang'), 'de')
    t.equal(await readHeading(visit), 'Dieser Link funktioniert nicht mehr')
    await takeScreenshot(visit, 'dark')
    await assertCleanVisit(t, visit, 'lkl_none')
  })

  t.test('the content security policy blocks injected content, and these tests notice it', async t => {
    const visit = await tab()
    await openLink(visit, 'magic-link', 'lkl_none')
    await visit.page.evaluate(
      "document.body.insertAdjacentHTML('beforeend', '<style>p { color: red }</style>" +
        '<img src="https://evil.example/x.png">\')'
    )
    await waitUntil('both are reported', () => visit.complaints.length >= 2)
    t.match(visit.complaints.join(), /Content Security Policy/)
  })

  t.test('the documentation shows every operation', async t => {
    const visit = await tab()
    await visit.page.goto(`${service.origin}/docs`)
    await visit.page.getByText('/v1/auth/magic-link/confirm').first().waitFor()
    t.equal(await visit.page.locator('.errors-wrapper').count(), 0)
    // The page's policy blocks one inline style of Swagger UI.
    t.strictSame(visit.complaints.filter(text => !text.startsWith('Applying inline style')), [])
    await takeScreenshot(visit, 'docs')
  })
})

t.test('with a home URL, the pages link there after success', { skip: missing ?? false }, async t => {
  const port = await freePort()
  const service = await serve(t, { HOME_URL: `http://localhost:${port}/welcome?a=1&b=%22` })
  const { email, password } = await registerUser(service)
  const { tab } = await start(t)
  const visit = await tab()
  await visit.page.route(`http://localhost:${port}/**`, async route => {
    await route.fulfill({ contentType: 'text/html', body: '<h1>Home</h1>' })
  })

  await open(
    visit,
    `${service.origin}/email-verification#token=${await requestLink(service, 'email-verification', email)}`
  )
  await currentPasswordField(visit).fill(password)
  await press(visit, confirmWithPassword)
  await visit.page.getByRole('link', { name: 'Continue' }).click()
  await visit.page.waitForURL(`http://localhost:${port}/welcome?a=1&b=%22`)
  await visit.page.goBack()
  await visit.page.locator('h1').waitFor()
  t.notOk(
    visit.requests.filter(request => request.method() === 'POST').length > 2,
    'going back submits nothing'
  )

  await open(visit, `${service.origin}/magic-link#token=${await requestLink(service, 'magic-link', email)}`)
  await visit.page.locator('.button').click()
  await visit.page.waitForURL(`http://localhost:${port}/welcome?a=1&b=%22`)
  t.equal(
    visit.page.url(),
    `http://localhost:${port}/welcome?a=1&b=%22`,
    'after a sign-in without another press'
  )
  t.match((await visit.page.context().cookies(service.origin)).map(({ name }) => name).sort(), [
    `device_${new URL(service.origin).port}`, `refresh_token_${new URL(service.origin).port}`
  ])
})
