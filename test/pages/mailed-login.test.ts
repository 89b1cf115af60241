import { build, newUser } from '../support/app.ts'
import {
  authorizationOf, authorize, codeIn, destinationOf, newClient, sealedIn, submit
} from '../support/delegation.ts'
import { mailTo } from '../support/inbox.ts'
import { t } from '../support/test.ts'

t.test('a magic link that was asked for to sign in to an application', async t => {
  const service = await build(t)
  const client = await newClient(service)
  const user = newUser()
  await service.browser().post('/v1/auth/register', user)
  await authorize(service.browser(), authorizationOf(client), user)
  const ask = async () => {
    const browser = service.browser()
    const page = destinationOf(await browser.get(authorizationOf(client).url))
    const fields = { identifier: user.email, request: sealedIn(page) }
    t.equal(destinationOf(await submit(browser, '/sign-in/link', fields)).pathname, '/check-inbox')
    return { browser, token: (await mailTo(service, user.email, 'magic_link')).token }
  }

  await t.test('goes on to the application in the browser that asked', async t => {
    const { browser, token } = await ask()
    t.ok(codeIn(destinationOf(await submit(browser, '/magic-link', { token }))))
    t.notOk(browser.jar.has('request_3000'), 'once')
  })

  await t.test('signs in elsewhere, and ends there', async t => {
    const { browser, token } = await ask()
    const otherBrowser = service.browser()
    t.equal(destinationOf(await submit(otherBrowser, '/magic-link', { token })).pathname, '/signed-in')
    t.equal(destinationOf(await browser.get(authorizationOf(client).url)).pathname, '/sign-in')
  })
})

t.test('a sign-up for an application goes on after the confirmation of the address', async t => {
  const service = await build(t, { REQUIRE_EMAIL_VERIFICATION: 'true' })
  const client = await newClient(await build(t, {}, { url: service.url }), { first_party: true })
  const user = newUser()
  const browser = service.browser()
  const page = destinationOf(await browser.get(authorizationOf(client, { prompt: 'create' }).url))
  t.equal(page.pathname, '/sign-up')
  const fields = { ...user, request: sealedIn(page) }
  t.equal(destinationOf(await submit(browser, '/sign-up', fields)).pathname, '/check-inbox')
  const { token } = await mailTo(service, user.email, 'email_verification')
  const done = destinationOf(await submit(browser, '/email-verification', { token }))
  const { text } = await browser.get(done.pathname)
  const [, href = ''] = /href="(\/sign-in\?request=[^"]+)"/.exec(text) ?? []
  t.match(text, 'Continue to Orders')
  const next = new URL(href, 'http://localhost')
  const answer = await submit(browser, '/sign-in', {
    identifier: user.email, password: user.password, request: sealedIn(next)
  })
  t.ok(codeIn(destinationOf(answer)))

  const { text: elsewhere } = await service.browser().get(done.pathname)
  t.notMatch(elsewhere, 'Orders')
})
