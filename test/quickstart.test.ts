import { createServer } from 'node:http'
import type { Test } from 'tap'
import { freePort } from '../src/database/embedded/server.ts'
import { directiveOf, parsePage } from '../scripts/documentation.ts'
import { build } from './support/app.ts'
import { missing, start } from './support/chromium.ts'
import { t } from './support/test.ts'

const types: Record<string, string> = { html: 'text/html', js: 'text/javascript' }

t.test('the page of the browser quickstart', { skip: missing ?? false }, async t => {
  const [servicePort, pagePort] = [await freePort(), await freePort()]
  const [origin, pageOrigin] = [`http://localhost:${servicePort}`, `http://localhost:${pagePort}`]
  const service = await build(t, { ISSUER_URL: origin, CORS_ORIGINS: pageOrigin })
  await service.app.listen({ host: '127.0.0.1', port: servicePort })

  const { blocks } = parsePage('.', 'docs/quickstart-browser.md')
  const files = new Map(blocks.map(block => {
    const text = block.text.replace('http://localhost:3000', origin)
    return [directiveOf(block, 'file')?.replace('quickstart', ''), text]
  }))
  const server = createServer(({ url = '/' }, response) => {
    const path = url === '/' ? '/index.html' : url
    const text = files.get(path)
    const type = types[path.split('.')[1] ?? ''] ?? ''
    response.writeHead(text === undefined ? 404 : 200, { 'content-type': type }).end(text)
  }).listen(pagePort, '127.0.0.1')
  t.teardown(() => { server.close() })

  const { browser } = await start(t)
  const context = await browser.newContext()
  const page = await context.newPage()
  const status = page.locator('#status')
  const shows = async (t: Test, text: string) => {
    await page.locator('#status', { hasText: text }).waitFor()
    t.equal(await status.textContent(), text)
  }

  await t.test('signs up', async t => {
    await page.goto(pageOrigin)
    await shows(t, 'Signed out')
    await page.locator('[name=email]').fill('ada@example.com')
    await page.locator('[name=password]').fill('a phrase of my own')
    await page.getByRole('button', { name: 'Sign up' }).click()
    await shows(t, 'Signed in as ada@example.com')
  })

  await t.test('stays signed in after a reload, and in a second tab', async t => {
    await page.reload()
    await shows(t, 'Signed in as ada@example.com')
    const second = await context.newPage()
    await second.goto(pageOrigin)
    await second.locator('#status', { hasText: 'Signed in as ada@example.com' }).waitFor()
    await page.reload()
    await shows(t, 'Signed in as ada@example.com')
    t.strictSame(await service.sql("select from audit_events where type = 'session.replayed'"), [])
  })

  await t.test('refreshes an access token that is rejected', async t => {
    const request = `auth => auth.fetchWithToken('${origin}/v1/me')`
    const answer = await page.evaluate(
      `import('${pageOrigin}/auth.js').then(${request}).then(({ status }) => status)`)
    t.equal(answer, 200)
  })

  await t.test('says why a sign-in failed, after signing out', async t => {
    await page.getByRole('button', { name: 'Sign out' }).click()
    await shows(t, 'Signed out')
    await page.locator('[name=email]').fill('ada@example.com')
    await page.locator('[name=password]').fill('another phrase')
    await page.getByRole('button', { name: 'Sign in' }).click()
    await page.locator('#status', { hasText: 'password' }).waitFor()
    t.ok(await page.locator('#credentials').isVisible())
  })
})
