import axe from 'axe-core'
import type { Test } from 'tap'
import { freePort } from '../../src/database/embedded/server.ts'
import { pageHeaders } from '../../routes/pages/layout.ts'
import { build, newUser } from '../support/app.ts'
import { missing, phone, start, type Tab } from '../support/chromium.ts'
import { mailTo } from '../support/inbox.ts'
import { pageContext, pageStates } from '../support/page-states.ts'
import { onlyInSoak } from '../support/soak.ts'
import { t } from '../support/test.ts'

const origin = 'http://pages.test'
const { script, style } = pageContext.assets

/** Serves the states of the pages to a tab, without a server. */
async function serveStates ({ page }: Tab, states: Map<string, string>) {
  await page.route(`${origin}/**`, async route => {
    const url = new URL(route.request().url())
    const asset = [script, style].find(({ path }) => path === url.pathname)
    if (asset) {
      const { type, select } = asset.content
      return await route.fulfill({ contentType: type, body: (await select(undefined)).body })
    }
    const body = states.get(decodeURIComponent(url.pathname.slice(1)))
    await route.fulfill(body === undefined ? { status: 404 } : { headers: pageHeaders('en'), body })
  })
}

const largeText = `for (const sheet of document.styleSheets) {
  sheet.insertRule('html { font-size: 200% }', sheet.cssRules.length)
}`
/** The controls that are smaller than 44 pixels, except for links within a sentence. */
const smallControls = `[
  ...document.querySelectorAll('.button, button, input:not([type=hidden]), footer a, .check')
]
  .filter(element => element.type !== 'checkbox')
  .filter(element => element.checkVisibility() && !element.closest('[aria-hidden]'))
  .filter(element => Math.min(element.offsetHeight, element.offsetWidth) < 44)
  .map(element => element.outerHTML)`
const overflow = 'document.documentElement.scrollWidth - window.innerWidth'

t.test('in a browser', { skip: missing ?? false }, async t => {
  const { tab } = await start(t)

  async function checkStates (t: Test, colorScheme: 'light' | 'dark', axeOptions: string) {
    const visit = await tab({ colorScheme })
    const states = pageStates(colorScheme === 'light' ? 'en' : 'de')
    await serveStates(visit, states)
    for (const name of states.keys()) {
      // The page that leaves would be gone before it is looked at.
      if (name === 'leaving') continue
      await visit.page.goto(`${origin}/${encodeURIComponent(name)}`)
      await visit.page.evaluate(axe.source)
      const violations: unknown = await visit.page.evaluate(
        `axe.run(${axeOptions})
          .then(({ violations }) => violations.map(({ id, nodes }) => [id, nodes[0].html]))`
      )
      t.strictSame(violations, [], `${name}, ${colorScheme}`)
      t.strictSame(await visit.page.evaluate(smallControls), [], name)
    }
    t.strictSame(visit.complaints, [])
    await visit.page.context().close()
  }
  t.test('axe finds nothing in any state of any page', async t => {
    await checkStates(t, 'light', '')
  })
  t.test('axe finds nothing in the colours of any dark page', onlyInSoak, async t => {
    await checkStates(t, 'dark', "{ runOnly: ['color-contrast'] }")
  })

  t.test('text of twice the size fits into 320 pixels', async t => {
    const visit = await tab({ viewport: { width: 320, height: 640 } })
    // German words are longer.
    const states = pageStates('de')
    await serveStates(visit, states)
    for (const name of states.keys()) {
      if (name === 'leaving') continue
      await visit.page.goto(`${origin}/${encodeURIComponent(name)}`)
      await visit.page.evaluate(largeText)
      t.ok(Number(await visit.page.evaluate(overflow)) <= 0, name)
    }
    await visit.page.context().close()
  })

  t.test('with forced colours, controls and notes have visible borders', async t => {
    const visit = await tab({ forcedColors: 'active' })
    const states = pageStates('en')
    await serveStates(visit, states)
    await visit.page.goto(`${origin}/${encodeURIComponent('sign in: wrong password')}`)
    const borders: unknown = await visit.page.evaluate(`
    ['.button', 'input', '.note', '.card'].map(selector => {
      const element = document.querySelector(selector)
      const { borderTopWidth, borderTopColor, backgroundColor } = getComputedStyle(element)
      return borderTopWidth === '1px' && borderTopColor !== backgroundColor
    })`)
    t.strictSame(borders, [true, true, true, true])
    await visit.page.context().close()
  })

  t.test('the focus goes to the failure, and can be seen on every control', async t => {
    const visit = await tab()
    await serveStates(visit, pageStates('en'))
    await visit.page.goto(`${origin}/${encodeURIComponent('sign in: wrong password')}`)
    // The browser moves the focus after it has loaded the page.
    const isFocused = async (id: string) =>
      await visit.page.waitForFunction(`document.activeElement.id === '${id}'`)
    t.ok(await isFocused('failure'))
    const order = ['identifier', 'password', 'password', 'remember']
    for (const name of order) {
      await visit.page.keyboard.press('Tab')
      t.equal(await visit.page.evaluate(
        "document.activeElement.name || document.activeElement.getAttribute('aria-controls')"
      ), name)
      t.equal(await visit.page.evaluate('getComputedStyle(document.activeElement).outlineStyle'), 'solid')
    }
    await visit.page.goto(`${origin}/${encodeURIComponent('sign in')}`)
    t.ok(await isFocused('identifier'))
    await visit.page.context().close()
  })

  t.test('the page that leaves moves on by itself', async () => {
    const visit = await tab()
    await serveStates(visit, pageStates('en'))
    await visit.page.goto(`${origin}/leaving`)
    await visit.page.waitForURL('about:blank#next')
  })

  for (const javaScriptEnabled of [true, false]) {
    const title = `a person signs up, forgets the password and signs in, ${
      javaScriptEnabled ? 'with' : 'without'} JavaScript`
    t.test(title, async t => {
      const port = await freePort()
      const service = await build(t, { ISSUER_URL: `http://localhost:${port}` })
      await service.app.listen({ host: '127.0.0.1', port })
      const { page, complaints } = await tab({ ...phone, javaScriptEnabled })
      const home = `http://localhost:${port}`
      const { email, password } = newUser()

      await page.goto(home)
      await page.getByRole('link', { name: 'Sign in', exact: true }).click()
      await page.getByRole('link', { name: 'Create an account' }).click()
      await page.getByLabel('Email').fill(email)
      await page.getByLabel('Password', { exact: true }).fill('password')
      await page.getByRole('button', { name: 'Create account' }).click()
      await page.getByText('most common passwords').waitFor()
      t.equal(await page.getByLabel('Email').inputValue(), email, 'what was typed is kept')
      t.equal(await page.getByLabel('Password', { exact: true }).inputValue(), '')
      const show = page.getByRole('button', { name: 'Show' })
      t.equal(await show.count(), javaScriptEnabled ? 1 : 0)
      if (javaScriptEnabled) {
        await show.click()
        t.equal(await page.getByLabel('Password', { exact: true }).getAttribute('type'), 'text')
      }
      await page.getByLabel('Password', { exact: true }).fill(password)
      await page.getByRole('button', { name: 'Create account' }).click()
      await page.waitForURL(`${home}/signed-in`)
      const cookieNames = async () => (await page.context().cookies()).map(({ name }) => name)
      t.ok((await cookieNames()).includes(`refresh_token_${port}`))
      await page.goto(`${home}/.well-known/change-password`)
      await page.getByLabel('Email').fill(email)
      await page.getByRole('button', { name: 'Email me a link' }).click()
      await page.getByText(email).waitFor()
      t.ok(await mailTo(service, email, 'password_reset'))
      await page.getByRole('button', { name: 'Send again' }).click()
      await page.waitForURL(`${home}/check-inbox?sent=password`)

      await page.context().clearCookies()
      await page.goto(`${home}/sign-in`)
      await page.getByLabel('Email address or username').fill(email)
      await page.getByRole('button', { name: 'Email me a sign-in link' }).click()
      await page.getByRole('heading', { name: 'Check your inbox' }).waitFor()
      const { token } = await mailTo(service, email, 'magic_link')
      t.match(token, /^lkl_/)
      await page.getByRole('link', { name: 'Back to sign-in' }).click()
      await page.getByLabel('Email address or username').fill(email)
      await page.getByLabel('Password', { exact: true }).fill(password)
      await page.getByLabel('Stay signed in').check()
      await page.getByRole('button', { name: 'Sign in', exact: true }).click()
      await page.waitForURL(`${home}/signed-in`)
      const cookie = (await page.context().cookies()).find(({ name }) => name === `refresh_token_${port}`)
      t.ok((cookie?.expires ?? 0) > 0, 'the session is remembered')
      t.strictSame(complaints, [])
      await page.context().close()
    })
  }

  t.test('a form is submitted once, however often its button is pressed', async t => {
    const visit = await tab()
    await serveStates(visit, pageStates('en'))
    await visit.page.goto(`${origin}/forgot`)
    await visit.page.getByLabel('Email').fill('ada@example.com')
    const sent: unknown = await visit.page.evaluate(`
      let sent = 0
      document.addEventListener('submit', event => {
        if (!event.defaultPrevented) sent++
        event.preventDefault()
      })
      for (let time = 0; time < 5; time++) document.forms[0].requestSubmit()
      sent`)
    t.equal(sent, 1)
  })
})
