import { build } from '../support/app.ts'
import {
  authorizationOf, codeIn, destinationOf, newClient, redeem, requestTokens, signInFor
} from '../support/delegation.ts'
import { countStatements } from '../support/statement-count.ts'
import { t } from '../support/test.ts'

const service = await build(t)

const clients = {
  'delegated login': await newClient(service),
  'delegated login with the claims of the user in the ID token':
    await newClient(service, { userinfo_in_id_token: true })
}

for (const [what, client] of Object.entries(clients)) {
  t.test(`${what} costs few statements`, async t => {
    const { browser } = await signInFor(service, client)
    // The clients are in memory.
    await service.browser().get(authorizationOf(client).url)
    const attempt = authorizationOf(client, { prompt: 'none' })
    const silent = await countStatements(async () => await browser.get(attempt.url))
    const code = codeIn(destinationOf(silent.result))
    t.equal(silent.statements, 2, 'a silent sign-in')

    const redeemed = await countStatements(async () =>
      await redeem(service, client, { code, verifier: attempt.verifier }))
    t.equal(redeemed.result.status, 200)
    t.equal(redeemed.statements, 1, 'a redemption')

    const refreshed = await countStatements(async () => await requestTokens(service, client, {
      grant_type: 'refresh_token', refresh_token: redeemed.result.body.refresh_token
    }))
    t.equal(refreshed.result.status, 200)
    t.equal(refreshed.statements, 1, 'a refresh')

    const anonymous = await countStatements(async () =>
      await service.browser().get(authorizationOf(client).url))
    t.equal(destinationOf(anonymous.result).pathname, '/sign-in')
    t.equal(anonymous.statements, 0, 'a visit without a sign-in')

    const refused = await countStatements(async () =>
      await redeem(service, client, { code: 'lkc_unknown', verifier: attempt.verifier }))
    t.equal(refused.result.status, 400)
    t.ok(refused.statements <= 2, 'a refused redemption')
  })
}
