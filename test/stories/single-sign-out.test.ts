import { freePort } from '../../src/database/embedded/server.ts'
import * as clients from '../../src/clients/clients.ts'
import { build, newUser } from '../support/app.ts'
import {
  authorizationOf, authorize, codeIn, destinationOf, newClient, redeem, requestTokens, submit
} from '../support/delegation.ts'
import { claimsOf } from '../support/jwt.ts'
import { waitUntil } from '../support/polling.ts'
import { t } from '../support/test.ts'
import { receiver } from '../support/webhook-receiver.ts'

/** Reads the revocation feed until it has sent everything that there was. */
async function readFeed (port: number, authorization: string): Promise<string> {
  const connection = new AbortController()
  const response = await fetch(`http://127.0.0.1:${port}/oauth/revocations`, {
    headers: { authorization }, signal: connection.signal
  })
  let text = ''
  for await (const chunk of response.body ?? []) {
    text += Buffer.from(chunk).toString()
    if (text.includes(': synced')) break
  }
  connection.abort()
  return text
}

t.test('a user signs in once for two applications, and out of both, while the service restarts', async t => {
  const port = await freePort()
  const settings = { WEBHOOK_PRIVATE_NETWORKS: '127.0.0.0/8' }
  const before = await build(t, settings)
  const inboxes = [await receiver(t), await receiver(t)] as const
  const orders = await newClient(before, { name: 'Orders', backchannel_logout_uri: inboxes[0].url })
  const reports = await newClient(before, {
    name: 'Reports', redirect_uris: ['https://reports.example.com/cb'], backchannel_logout_uri: inboxes[1].url
  })
  const { client_id: id, client_secret: secret } = await clients.create(
    before.app.db, { name: 'Gateway', scopes: ['revocations'] }, {})
  const user = newUser()
  const userId = String((await before.browser().post('/v1/auth/register', user)).body.user.id)
  const browser = before.browser()

  const first = authorizationOf(orders)
  const page = destinationOf(await browser.get(first.url))
  t.equal(page.pathname, '/sign-in')
  const { body: ofOrders } = await redeem(before, orders, {
    code: codeIn(await authorize(browser, first, user)), verifier: first.verifier
  })

  const second = authorizationOf(reports)
  const question = destinationOf(await browser.get(second.url))
  t.equal(question.pathname, '/consent', 'the second application needs no sign-in')
  const { body: ofReports } = await redeem(before, reports, {
    code: codeIn(await authorize(browser, second)), verifier: second.verifier
  })
  const sids = [ofOrders, ofReports].map(({ access_token: token }) => String(claimsOf(token).sid))
  t.not(sids[0], sids[1])

  // Both applications are down while the user signs out, and the service restarts.
  for (const inbox of inboxes) inbox.answer((_request, response) => { response.destroy() })
  await submit(browser, '/sign-out', {})
  const hasFailed = (sid: string) => before.logs.some(({ session, msg }) =>
    session === sid && msg === 'back-channel logout failed; retrying')
  await waitUntil('both attempts have failed', () => sids.every(hasFailed))
  await before.app.close()
  for (const inbox of inboxes) inbox.answer((_request, response) => { response.writeHead(200).end() })
  const after = await build(t, settings, { url: before.url })
  await after.app.listen({ host: '127.0.0.1', port })

  await after.sql("update jobs set run_at = now() where kind = 'backchannel_logout'")
  for (const [index, inbox] of inboxes.entries()) {
    const { text } = await waitUntil('the logout token', () => inbox.requests.at(1))
    const claims = claimsOf(new URLSearchParams(text).get('logout_token') ?? '')
    t.match(claims, { sid: sids[index], sub: userId, aud: [orders, reports][index]?.id })
  }
  const feed = await readFeed(port, `Basic ${btoa(`${id}:${secret}`)}`)
  for (const sid of sids) t.ok(feed.includes(sid), 'the feed tells verifiers')

  for (const [client, tokens] of [[orders, ofOrders], [reports, ofReports]] as const) {
    const { body } = await requestTokens(after, client, {
      grant_type: 'refresh_token', refresh_token: tokens.refresh_token
    })
    t.equal(body.error, 'invalid_grant')
    const bearer = after.browser()
    bearer.accessToken = tokens.access_token
    t.equal((await bearer.get('/oauth/userinfo')).status, 401)
  }
  browser.app = after.app
  t.equal(destinationOf(await browser.get(authorizationOf(orders).url)).pathname, '/sign-in')
})
