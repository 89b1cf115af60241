import fc from 'fast-check'
import t from 'tap'
import { findRecipient } from '../../src/mail/recipient.ts'
import { unsealMail } from '../../src/mail/outbox.ts'
import type { Answer, Browser } from '../support/client.ts'
import { build, keyEncryptionKey, newUser, type Service } from '../support/app.ts'
import { mailTo } from '../support/inbox.ts'
import { scale } from '../support/soak.ts'

const register = '/v1/auth/register'
const login = '/v1/auth/login'
const confirm = '/v1/auth/email-verification/confirm'
const ask = { email_verification: '/v1/auth/email-verification', password_reset: '/v1/auth/password-reset', magic_link: '/v1/auth/magic-link' }
const asks = (methods: string[]) => ({ status: 409, body: { code: 'password_required', methods } })

const signIn = async (service: Service, email: string, password: string) => (await service.browser().post(login, { email, password })).status
/** Signs up, and gives the browser with what it got. */
async function signUp (service: Service, email: string, password: string) {
  const browser = service.browser()
  const { status, body } = await browser.post(register, { email, password })
  if (status === 201) browser.accessToken = body.access_token
  return { email, password, browser, status }
}
/** The token of the next mail. */
const tokenTo = async (service: Service, email: string, kind: string) => (await mailTo(service, email, kind)).token
/** Somebody whose address is verified, signed in. */
async function settled (service: Service) {
  const { email, password } = newUser()
  const { browser } = await signUp(service, email, password)
  await browser.post(confirm, { token: await tokenTo(service, email, 'email_verification') })
  const { body } = await browser.post(login, { email, password })
  browser.accessToken = body.access_token
  return { email, password, browser, id: String(body.user.id) }
}

t.test('a stranger who registers the address of somebody else, where addresses must be verified', async t => {
  const service = await build(t, { REQUIRE_EMAIL_VERIFICATION: 'true' })

  await t.test('five times, does not get an account when the owner follows one of the mails', async t => {
    const owner = newUser()
    const tokens: string[] = []
    for (let i = 0; i < 5; i++) {
      await signUp(service, owner.email, `the stranger's phrase ${i}`)
      tokens.push(await tokenTo(service, owner.email, 'email_verification'))
    }
    const own = await signUp(service, owner.email, owner.password)
    const [, , third = ''] = tokens
    t.match(await own.browser.post(confirm, { token: third }), asks(['password', 'new_password']), 'the cookie is of another registration')
    t.match(await service.browser().post(confirm, { token: third, password: owner.password }), { status: 403, body: { code: 'invalid_credentials' } })
    t.equal((await service.browser().post(confirm, { token: third, new_password: owner.password })).status, 204)
    t.equal(await signIn(service, owner.email, owner.password), 200)
    for (let i = 0; i < 5; i++) t.equal(await signIn(service, owner.email, `the stranger's phrase ${i}`), 401)
  })
  await t.test('has a cookie that proves nothing any more when the owner has chosen a new password', async t => {
    const [owner, stranger] = [newUser(), newUser()]
    const { browser } = await signUp(service, owner.email, stranger.password)
    const token = await tokenTo(service, owner.email, 'email_verification')
    const own = service.browser()
    t.equal((await own.post(confirm, { token, new_password: owner.password })).status, 204)
    own.accessToken = (await own.post(login, owner)).body.access_token
    t.equal((await own.post('/v1/me/email', { password: owner.password, email: stranger.email })).status, 202, 'a mistyped address')
    t.match(await browser.post(confirm, { token: await tokenTo(service, stranger.email, 'email_change') }), asks(['session', 'password']))
    t.match((await own.get('/v1/me')).body, { email: owner.email })
  })
  await t.test('changes nothing for the owner who follows the mail of their own registration in the same browser', async t => {
    const owner = newUser()
    const { browser } = await signUp(service, owner.email, owner.password)
    const token = await tokenTo(service, owner.email, 'email_verification')
    const stranger = await signUp(service, owner.email, 'a phrase of the stranger')
    // Before the confirmation: a mail that is not sent by then goes to nobody.
    const another = await tokenTo(service, owner.email, 'email_verification')
    t.equal((await browser.post(confirm, { token })).status, 204)
    t.strictSame([await signIn(service, owner.email, owner.password), await signIn(service, owner.email, stranger.password)], [200, 401])
    t.match(await stranger.browser.post(confirm, { token: another }), { status: 410 })
  })
})

t.test('a stranger who registers the address of somebody else, where an account can be used at once', async t => {
  const service = await build(t)

  await t.test('loses password, session and links when the owner follows the mail', async t => {
    const owner = newUser()
    const stranger = await signUp(service, owner.email, 'a phrase of the stranger')
    const elsewhere = newUser().email
    const token = await tokenTo(service, owner.email, 'email_verification')
    await stranger.browser.post('/v1/me/email', { password: stranger.password, email: elsewhere })
    const change = await tokenTo(service, elsewhere, 'email_change')
    const browser = service.browser()
    t.match(await browser.post(confirm, { token }), asks(['session', 'password', 'new_password']))
    t.match((await stranger.browser.get('/v1/me')).body, { email_verified: false }, 'and nothing has happened')
    t.equal((await browser.post(confirm, { token, new_password: owner.password })).status, 204)
    t.strictSame([await signIn(service, owner.email, stranger.password), await signIn(service, owner.email, owner.password)], [401, 200])
    t.equal((await stranger.browser.get('/v1/me')).status, 401)
    t.equal((await stranger.browser.post('/v1/auth/refresh')).status, 401)
    t.equal((await stranger.browser.post(confirm, { token: change, password: stranger.password })).status, 410)
  })
  await t.test('is nobody to the owner who registered first: their password and session live on', async t => {
    const owner = newUser()
    const { browser } = await signUp(service, owner.email, owner.password)
    t.equal((await signUp(service, owner.email, 'a phrase of the stranger')).status, 409)
    t.equal((await browser.post(confirm, { token: await tokenTo(service, owner.email, 'email_verification') })).status, 204)
    t.match((await browser.get('/v1/me')).body, { email_verified: true })
    t.strictSame([await signIn(service, owner.email, owner.password), (await browser.post('/v1/auth/refresh')).status], [200, 200])
  })
})

for (const required of ['false', 'true']) {
  t.test(`a change of address, with REQUIRE_EMAIL_VERIFICATION=${required}`, async t => {
    const service = await build(t, { REQUIRE_EMAIL_VERIFICATION: required })

    await t.test('to the address of somebody else does not give them an account that the stranger can take back', async t => {
      const [stranger, owner] = [await settled(service), newUser()]
      await stranger.browser.post('/v1/me/email', { password: stranger.password, email: owner.email })
      const token = await tokenTo(service, owner.email, 'email_change')
      for (const proof of [{}, { new_password: owner.password }]) {
        t.match(await service.browser().post(confirm, { token, ...proof }), asks(['session', 'password']))
      }
      t.equal((await service.browser().post(confirm, { token, password: owner.password })).status, 403)
      t.match((await stranger.browser.get('/v1/me')).body, { email: stranger.email })
      const own = await signUp(service, owner.email, owner.password)
      t.equal((await own.browser.post(confirm, { token: await tokenTo(service, owner.email, 'email_verification') })).status, 204)
      const { body: { user } } = await service.browser().post(login, owner)
      t.not(user.id, stranger.id)
      t.equal(await signIn(service, owner.email, stranger.password), 401)
    })
    await t.test('to a mistyped address does not give the account to whoever reads its mail', async t => {
      const [owner, stranger] = [await settled(service), newUser()]
      await owner.browser.post('/v1/me/email', { password: owner.password, email: stranger.email })
      const mistyped = await tokenTo(service, stranger.email, 'email_change')
      const right = newUser().email
      await owner.browser.post('/v1/me/email', { password: owner.password, email: right })
      const token = await tokenTo(service, right, 'email_change')
      t.match(await service.browser().post(confirm, { token: mistyped, password: owner.password }), { status: 410 }, 'the second request voids the first one')
      t.equal((await owner.browser.post(confirm, { token })).status, 204)
      t.match((await owner.browser.get('/v1/me')).body, { email: right, email_verified: true })
    })
    await t.test('is undone by its owner alone, whatever a thief of the password does', async t => {
      const [owner, mailbox, another] = [await settled(service), newUser().email, 'a phrase of the thief']
      const thief = service.browser()
      thief.accessToken = (await thief.post(login, { email: owner.email, password: owner.password })).body.access_token
      await thief.post('/v1/me/email', { password: owner.password, email: mailbox })
      await mailTo(service, owner.email, 'email_change_requested')
      t.equal((await thief.post(confirm, { token: await tokenTo(service, mailbox, 'email_change') })).status, 204)
      const undo = await tokenTo(service, owner.email, 'email_changed')
      await thief.post('/v1/me/password', { current_password: owner.password, new_password: another })
      await thief.post(ask.password_reset, { email: mailbox })
      await thief.post('/v1/auth/password-reset/confirm', { token: await tokenTo(service, mailbox, 'password_reset'), new_password: `${another} 2` })
      t.match(await service.browser().post(confirm, { token: undo, new_password: owner.password }), { status: 400, body: { errors: [{ pointer: '/new_password' }] } })
      t.equal((await service.browser().post(confirm, { token: undo })).status, 204)
      t.equal((await thief.get('/v1/me')).status, 401)
      for (const password of [owner.password, another, `${another} 2`]) for (const email of [owner.email, mailbox]) t.equal(await signIn(service, email, password), 401)
      const reset = await tokenTo(service, owner.email, 'password_reset')
      t.equal((await service.browser().post('/v1/auth/password-reset/confirm', { token: reset, new_password: owner.password })).status, 204)
      t.match(await service.browser().post(login, { email: owner.email, password: owner.password }), { status: 200, body: { user: { id: owner.id, email: owner.email } } })
    })
    await t.test('that a thief with a fresh session asks for, of an account without a password, ends with that session', async t => {
      for (const way of ['everywhere', 'a password', 'a reset', 'an administrator'] as const) {
        const owner = await settled(service)
        await service.sql('update users set password_hash = null where id = $1', [owner.id])
        const fresh = async () => {
          const browser = service.browser()
          await browser.post(ask.magic_link, { email: owner.email })
          const { body } = await browser.post('/v1/auth/magic-link/confirm', { token: await tokenTo(service, owner.email, 'magic_link') })
          browser.accessToken = body.access_token
          return browser
        }
        const [thief, mailbox] = [await fresh(), newUser().email]
        t.equal((await thief.post('/v1/me/email', { email: mailbox })).status, 202)
        const token = await tokenTo(service, mailbox, 'email_change')
        t.match(await service.browser().post(confirm, { token }), asks(['session']), 'without the session it is no good')
        const ada = await fresh()
        if (way === 'everywhere') await ada.delete('/v1/me/sessions')
        if (way === 'a password') await ada.post('/v1/me/password', { new_password: owner.password })
        if (way === 'a reset') {
          await ada.post(ask.password_reset, { email: owner.email })
          await ada.post('/v1/auth/password-reset/confirm', { token: await tokenTo(service, owner.email, 'password_reset'), new_password: owner.password })
        }
        if (way === 'an administrator') {
          const admin = await settled(service)
          await service.sql("update users set roles = '{user,admin}' where id = $1", [admin.id])
          admin.browser.accessToken = (await admin.browser.post('/v1/auth/refresh')).body.access_token
          t.equal((await admin.browser.delete(`/v1/admin/users/${owner.id}/sessions`)).status, 204)
        }
        for (const browser of [thief, ada, service.browser()]) t.equal((await browser.post(confirm, { token })).status, 410, way)
        t.strictSame(await service.sql('select email from users where id = $1', [owner.id]), [{ email: owner.email }])
      }
    })
  })
}

// Two actors who do what they like, each with a mailbox that only they read. The rule is the same for both: whoever
// verified an address does not share the account with the other, and the other has no access to it.
const actors = ['owner', 'stranger'] as const
type Actor = typeof actors[number]
const acts = ['register', 'ask', 'confirm', 'change', 'reset', 'magic', 'login', 'refresh', 'sign out'] as const
// Those that the rule is about come more often.
const chances = [...acts, 'register', 'confirm', 'confirm'] as const
const proofs = ['browser', 'password', 'new_password', 'nothing'] as const
const askedKinds = ['email_verification', 'password_reset', 'magic_link'] as const

interface Step { actor: Actor, act: typeof acts[number], to: Actor, proof: typeof proofs[number], which: number }

interface Party {
  email: string
  browser: Browser
  /** The links that came to the mailbox. */
  links: Array<{ kind: string, token: string }>
  /** Every password that this actor chose. */
  passwords: string[]
  /** Every access token that this actor got. */
  accessTokens: string[]
}
type Parties = Record<Actor, Party>

const confirmingKinds = ['email_verification', 'email_change', 'email_changed']
const choose = <Item>(items: readonly Item[], which: number) => items[which % items.length]

for (const required of ['false', 'true']) {
  t.test(`whoever reads a mailbox and whoever set a password never share a verified account, with REQUIRE_EMAIL_VERIFICATION=${required}`, async t => {
    const service = await build(t, { REQUIRE_EMAIL_VERIFICATION: required })
    // Mails stay in the database, where the test reads them.
    await service.sql("create function hold () returns trigger language plpgsql as $$ begin new.run_at := now() + interval '1 day'; return new; end $$")
    await service.sql('create trigger hold before insert on jobs for each row execute function hold()')
    const step = fc.record({
      actor: fc.constantFrom(...actors),
      act: fc.constantFrom(...chances),
      to: fc.constantFrom(...actors),
      proof: fc.constantFrom(...proofs),
      which: fc.nat(20)
    })
    let stories = 0
    await fc.assert(fc.asyncProperty(fc.array(step, { minLength: 6, maxLength: 14 }), async steps => {
      const party = (): Party => ({ email: newUser().email, browser: service.browser(), links: [], passwords: [], accessTokens: [] })
      const parties = { owner: party(), stranger: party() }
      for (const each of steps) {
        await take(service, parties, each)
        await readMail(service, parties)
      }
      await judge(service, parties)
      stories++
    }), { numRuns: scale(60, 15), interruptAfterTimeLimit: 8_000 })
    t.comment(`${stories} stories`)
    t.ok(stories > 0)
  })
}

/** Does one step, as far as the actor can. */
async function take (service: Service, parties: Parties, { actor, act, to, proof, which }: Step): Promise<void> {
  const self = parties[actor]
  const { browser } = self
  const { email } = parties[to]
  const fresh = () => {
    const { password } = newUser()
    self.passwords.push(password)
    return password
  }
  const known = choose(self.passwords, which)
  switch (act) {
    case 'register':
      keep(self, await browser.post(register, { email, password: fresh() }))
      return
    case 'ask':
      await browser.post(ask[choose(askedKinds, which) ?? 'magic_link'], { email })
      return
    case 'login':
      if (known !== undefined) keep(self, await browser.post(login, { email, password: known }))
      return
    case 'refresh':
      keep(self, await browser.post('/v1/auth/refresh'))
      return
    case 'sign out':
      await browser.delete('/v1/me/sessions')
      return
    case 'change':
      await browser.post('/v1/me/email', { email, ...known !== undefined && { password: known } })
      return
    case 'reset': {
      const token = linkOf(self, ['password_reset', 'invitation'], which)
      if (token !== undefined) await browser.post('/v1/auth/password-reset/confirm', { token, new_password: fresh() })
      return
    }
    case 'magic': {
      const token = linkOf(self, ['magic_link'], which)
      if (token !== undefined) keep(self, await browser.post('/v1/auth/magic-link/confirm', { token }))
      return
    }
    case 'confirm': {
      const token = linkOf(self, confirmingKinds, which)
      if (token === undefined) return
      const password = choose(self.passwords, which)
      if (proof === 'browser') await browser.post(confirm, { token })
      else if (proof === 'new_password') await service.browser().post(confirm, { token, new_password: fresh() })
      else await service.browser().post(confirm, { token, ...proof === 'password' && password !== undefined && { password } })
    }
  }
}

const linkOf = ({ links }: Party, kinds: readonly string[], which: number) =>
  choose(links.filter(({ kind }) => kinds.includes(kind)), which)?.token

function keep (self: Party, { status, body }: Answer) {
  if (status >= 300 || body.access_token === undefined) return
  self.browser.accessToken = body.access_token
  self.accessTokens.push(body.access_token)
}

/** Brings each mail to the mailbox that it is for. */
async function readMail ({ app }: Service, parties: Parties): Promise<void> {
  const jobs = await app.db.query<{ sealed: Buffer, user_id: string | null }>("delete from jobs where kind = 'mail' returning sealed, user_id")
  for (const { sealed, user_id: userId } of jobs) {
    const mail = unsealMail([keyEncryptionKey], sealed)
    const recipient = await findRecipient(app.db, { userId }, mail)
    const box = actors.map(actor => parties[actor]).find(({ email }) => email === recipient?.address)
    if (box && mail.token !== undefined) box.links.push({ kind: mail.kind, token: mail.token })
  }
}

/** Has both try all that they have, and throws if one of them has access to what the other has verified. */
async function judge (service: Service, parties: Parties): Promise<void> {
  for (const actor of [...actors].reverse()) {
    const { links, passwords, browser } = parties[actor]
    for (const { token } of links.filter(({ kind }) => confirmingKinds.includes(kind))) {
      await browser.post(confirm, { token })
      for (const password of passwords.slice(-2)) await service.browser().post(confirm, { token, password })
    }
    await readMail(service, parties)
  }
  const seen = new Map<string, Actor>()
  for (const actor of actors) {
    for (const { id, email, email_verified: isVerified } of await accounts(service, parties, parties[actor])) {
      if (!isVerified) continue
      if (email !== parties[actor].email) throw new Error(`the ${actor} has an account with the address that somebody else verified`)
      if ((seen.get(id) ?? actor) !== actor) throw new Error('both have the same verified account')
      seen.set(id, actor)
    }
  }
}

/** The accounts that an actor has access to, by a session or a password. */
async function accounts (service: Service, parties: Parties, { browser, accessTokens, passwords }: Party) {
  const users: Array<{ id: string, email: string, email_verified: boolean }> = []
  for (const accessToken of accessTokens) {
    const { status, body } = await service.browser().get('/v1/me', { authorization: `Bearer ${accessToken}` })
    if (status === 200) users.push(body)
  }
  const refreshed = await browser.post('/v1/auth/refresh')
  if (refreshed.status === 200) users.push(refreshed.body.user)
  for (const password of passwords) {
    for (const actor of actors) {
      const { status, body } = await service.browser().post(login, { email: parties[actor].email, password })
      if (status === 200) users.push(body.user)
    }
  }
  return users
}
