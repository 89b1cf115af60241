import { freePort } from '../../src/database/embedded/server.ts'
import { build, newUser } from '../support/app.ts'
import { missing, start } from '../support/chromium.ts'
import { newClient } from '../support/delegation.ts'
import { localhost, runDocumented, runExample, serveBrowserApp } from '../support/example-applications.ts'
import { allow, showsStatus as shows, signIn, signUp } from '../support/page-actions.ts'
import { waitFor } from '../support/polling.ts'
import { ready } from '../support/process.ts'
import { t } from '../support/test.ts'

async function freePorts (): Promise<[number, number, number, number]> {
  return [await freePort(), await freePort(), await freePort(), await freePort()]
}

t.test('applications that delegate their login, in a browser', { skip: missing ?? false }, async t => {
  const [port, shopPort, officePort, pagePort] = await freePorts()
  const [ordersPort, archivePort, helloPort] = await freePorts()
  const issuer = localhost(port)
  const [shopUrl, officeUrl, pageUrl] = [localhost(shopPort), localhost(officePort), localhost(pagePort)]
  const [ordersUrl, archiveUrl] = [localhost(ordersPort), localhost(archivePort)]
  const helloUrl = localhost(helloPort)
  const startService = async (url?: string) => {
    const service = await build(t, {
      ISSUER_URL: issuer,
      // Applications refresh a minute before a token expires: at every request.
      ACCESS_TOKEN_TTL: '1m',
      WEBHOOK_PRIVATE_NETWORKS: '127.0.0.0/8'
    }, url === undefined ? {} : { url })
    await service.app.listen({ host: '127.0.0.1', port })
    return service
  }
  const service = await startService()
  let running = service

  const addressesOf = (url: string) => ({
    redirect_uris: [`${url}/callback`], post_logout_redirect_uris: [`${url}/`]
  })
  const startApplication = async (name: string, port: number, metadata: object = {}) => {
    const client = await newClient(service, {
      name,
      ...addressesOf(localhost(port)),
      backchannel_logout_uri: `${localhost(port)}/backchannel-logout`,
      ...metadata
    })
    const settings = { issuer, client, port, env: { APP_NAME: name } }
    await ready(runExample(t, 'server-side-app/server.ts', settings), '/')
  }
  const publicClient = { token_endpoint_auth_method: 'none' }
  const pageClient = await newClient(service, {
    ...publicClient,
    name: 'Orders',
    redirect_uris: [`${pageUrl}/`],
    post_logout_redirect_uris: [`${pageUrl}/`],
    grant_types: ['authorization_code'],
    first_party: true
  })
  serveBrowserApp(t, { issuer, client: pageClient, port: pagePort }, ordersUrl)
  const programClient = await newClient(service, {
    ...publicClient,
    name: 'Command line',
    application_type: 'native',
    redirect_uris: ['http://127.0.0.1/callback'],
    audiences: [archiveUrl]
  })
  const follower = await newClient(service, {
    name: 'Orders service', redirect_uris: [], scopes: ['revocations']
  })
  const startOrders = async (port: number, env: Record<string, string>) => {
    await ready(runExample(t, 'orders-service/server.ts', { issuer, client: follower, port, env }), '/health')
  }
  const [{ tab }] = await Promise.all([
    start(t),
    startApplication('Shop', shopPort),
    startApplication('Office', officePort, { first_party: true }),
    startOrders(ordersPort, { CLIENTS: pageClient.id, CORS_ORIGINS: pageUrl }),
    startOrders(archivePort, { CLIENTS: programClient.id, AUDIENCE: archiveUrl })
  ])

  const ada = newUser()
  const signedIn = `Signed in as ${ada.email}`
  const { page: shop } = await tab()
  const office = await shop.context().newPage()
  const browserApp = await shop.context().newPage()

  await t.test('a user signs up on the way to an application, although the service restarts', async t => {
    await shop.goto(shopUrl)
    await shows(t, shop, 'Signed out')
    await shop.getByRole('link', { name: 'Sign in' }).click()
    await shop.getByText('Shop').waitFor()
    await signUp(shop, ada)
    await shop.getByText(ada.email).waitFor()
    await running.app.close()
    running = await startService(service.url)
    await allow(shop)
    await shows(t, shop, signedIn)
    t.equal(shop.url(), `${shopUrl}/`)
  })

  await t.test('a second application in the same browser needs no sign-in', async t => {
    await office.goto(officeUrl)
    await office.getByRole('link', { name: 'Sign in' }).click()
    await shows(t, office, signedIn)
  })

  await t.test('the sessions of applications continue after a restart of the service', async t => {
    await running.app.close()
    const answer = await shop.reload()
    t.equal(answer?.status(), 503, 'meanwhile the application does not sign its users out')
    running = await startService(service.url)
    for (const page of [shop, office]) {
      await page.goto(page.url())
      await shows(t, page, signedIn)
    }
  })

  await t.test('a page without a server signs in, and calls a service', async t => {
    await browserApp.goto(pageUrl)
    await shows(t, browserApp, 'Signed out')
    await browserApp.getByRole('button', { name: 'Sign in' }).click()
    await shows(t, browserApp, signedIn)
    t.equal(browserApp.url(), `${pageUrl}/`, 'the code is not left in the address')
    await browserApp.getByRole('button', { name: 'Order a book' }).click()
    await browserApp.getByRole('listitem').waitFor()
    t.equal(await browserApp.getByRole('listitem').textContent(), 'a book')
  })

  await t.test('a forged logout token ends nothing', async t => {
    const answer = await fetch(`${shopUrl}/backchannel-logout`, {
      method: 'POST', body: new URLSearchParams({ logout_token: 'eyJhbGciOiJub25lIn0.e30.' })
    })
    t.equal(answer.status, 400)
    await shop.reload()
    await shows(t, shop, signedIn)
  })

  await t.test('a sign-out at one application signs out of all', async t => {
    await shop.getByRole('button', { name: 'Sign out' }).click()
    await shows(t, shop, 'Signed out')
    t.equal(shop.url(), `${shopUrl}/`)
    await waitFor(async () => {
      await office.reload()
      return await office.locator('#status').textContent() === 'Signed out'
    })
    await t.test('and its tokens are refused by services', async () => {
      await waitFor(async () => {
        const button = browserApp.getByRole('button', { name: 'Order a book' })
        await button.click({ timeout: 1_000 }).catch(() => {})
        return browserApp.url().startsWith(`${issuer}/sign-in`)
      })
    })
    await office.getByRole('link', { name: 'Sign in' }).click()
    await office.getByLabel('Email address or username').waitFor()
  })

  await t.test('a program on the user\'s device signs in, and calls a service', async t => {
    const program = runExample(t, 'native-app/cli.ts', {
      issuer, client: programClient, port: 0, env: { ORDERS_URL: archiveUrl }
    })
    await waitFor(async () => program.output().includes('redirect_uri'))
    const [address = ''] = /http:\S+/.exec(program.output()) ?? []
    const { page } = await tab()
    await page.goto(address)
    await signIn(page, ada)
    await page.getByText(new URL(archiveUrl).host).waitFor()
    await allow(page)
    await page.getByText('You can close this window').waitFor()
    t.match(await program.ended, { code: 0 })
    t.match(program.output(), /Signed in as user [0-9a-f-]{36}\nOrders: 200 \[\]/)
    await page.context().close()
  })

  await t.test('everything on the pages of the service works without JavaScript', async t => {
    const { page } = await tab({ javaScriptEnabled: false })
    const user = newUser()
    await page.goto(`${shopUrl}/sign-in`)
    await signUp(page, user)
    await allow(page)
    await shows(t, page, `Signed in as ${user.email}`)
    await page.getByRole('button', { name: 'Sign out' }).click()
    await shows(t, page, 'Signed out')
    await page.goto(`${shopUrl}/sign-in`)
    await signIn(page, user)
    await shows(t, page, `Signed in as ${user.email}`)
  })
  await t.test('the application of the guide signs in and out', async t => {
    const client = await newClient(running, { name: 'Hello', ...addressesOf(helloUrl) })
    const settings = { issuer, client, port: helloPort }
    await ready(runDocumented(t, 'docs/delegated-login.md', 'app.mjs', settings), '/')
    const { page } = await tab()
    const user = newUser()
    await page.goto(helloUrl)
    await page.getByRole('link', { name: 'Sign in' }).click()
    await signUp(page, user)
    await allow(page)
    await page.getByText(`Hello, ${user.email}`).waitFor()
    await page.getByRole('link', { name: 'Sign out' }).click()
    await page.getByRole('link', { name: 'Sign in' }).waitFor()
    t.equal(page.url(), `${helloUrl}/`)
  })
})
