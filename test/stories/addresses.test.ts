import fc from 'fast-check'
import { findRecipient } from '../../src/mail/recipient.ts'
import { unsealMail } from '../../src/mail/outbox.ts'
import type { Answer, Browser } from '../support/client.ts'
import { build, keyEncryptionKey, newUser, type Service } from '../support/app.ts'
import { mailTo } from '../support/inbox.ts'
import { scale } from '../support/soak.ts'
import { t } from '../support/test.ts'

const register = '/v1/auth/register'
const login = '/v1/auth/login'
const confirm = '/v1/auth/email-verification/confirm'
const linkRoutes = {
  email_verification: '/v1/auth/email-verification',
  password_reset: '/v1/auth/password-reset',
  magic_link: '/v1/auth/magic-link'
}
const confirmationRequired = (methods: string[]) => ({
  status: 409,
  body: { code: 'password_required', methods }
})

const signIn = async (service: Service, email: string, password: string) =>
  (await service.browser().post(login, { email, password })).status
/** Registers, and returns the browser, signed in if the account can be used at once. */
async function registerAs (service: Service, email: string, password: string) {
  const browser = service.browser()
  const { status, body } = await browser.post(register, { email, password })
  if (status === 201) browser.accessToken = body.access_token
  return { email, password, browser, status }
}
/** The token of the next mail of this kind to an address. */
const nextToken = async (service: Service, email: string, kind: string) =>
  (await mailTo(service, email, kind)).token
/** A signed-in user with a verified address. */
async function verifiedUser (service: Service) {
  const { email, password } = newUser()
  const { browser } = await registerAs(service, email, password)
  await browser.post(confirm, { token: await nextToken(service, email, 'email_verification') })
  const { body } = await browser.post(login, { email, password })
  browser.accessToken = body.access_token
  return { email, password, browser, id: String(body.user.id) }
}

t.test('a registration with a foreign address, if addresses must be verified,', async t => {
  const service = await build(t, { REQUIRE_EMAIL_VERIFICATION: 'true' })

  await t.test('does not give its sender an account when the owner follows the link', async t => {
    const owner = newUser()
    const tokens: string[] = []
    for (let i = 0; i < 5; i++) {
      await registerAs(service, owner.email, `the stranger's phrase ${i}`)
      tokens.push(await nextToken(service, owner.email, 'email_verification'))
    }
    const registration = await registerAs(service, owner.email, owner.password)
    const [, , thirdToken = ''] = tokens
    t.match(
      await registration.browser.post(confirm, { token: thirdToken }),
      confirmationRequired(['password', 'new_password']),
      'the cookie belongs to another registration'
    )
    t.match(await service.browser().post(confirm, { token: thirdToken, password: owner.password }), {
      status: 403,
      body: { code: 'invalid_credentials' }
    })
    t.equal(
      (await service.browser().post(confirm, { token: thirdToken, new_password: owner.password })).status,
      204
    )
    t.equal(await signIn(service, owner.email, owner.password), 200)
    for (let i = 0; i < 5; i++) t.equal(await signIn(service, owner.email, `the stranger's phrase ${i}`), 401)
  })
  await t.test('has a cookie that confirms nothing after the owner has chosen a new password', async t => {
    const [owner, stranger] = [newUser(), newUser()]
    const { browser } = await registerAs(service, owner.email, stranger.password)
    const token = await nextToken(service, owner.email, 'email_verification')
    const ownerBrowser = service.browser()
    t.equal((await ownerBrowser.post(confirm, { token, new_password: owner.password })).status, 204)
    ownerBrowser.accessToken = (await ownerBrowser.post(login, owner)).body.access_token
    t.equal(
      (await ownerBrowser.post('/v1/me/email', { password: owner.password, email: stranger.email })).status,
      202,
      'a mistyped address'
    )
    t.match(
      await browser.post(confirm, { token: await nextToken(service, stranger.email, 'email_change') }),
      confirmationRequired(['session', 'password'])
    )
    t.match((await ownerBrowser.get('/v1/me')).body, { email: owner.email })
  })
  await t.test('does not affect the owner, who follows the link of their own registration', async t => {
    const owner = newUser()
    const { browser } = await registerAs(service, owner.email, owner.password)
    const token = await nextToken(service, owner.email, 'email_verification')
    const attacker = await registerAs(service, owner.email, 'a phrase of the stranger')
    // Read before the confirmation, because a later mail would not be sent.
    const strangerToken = await nextToken(service, owner.email, 'email_verification')
    t.equal((await browser.post(confirm, { token })).status, 204)
    t.strictSame(
      [
        await signIn(service, owner.email, owner.password),
        await signIn(service, owner.email, attacker.password)
      ],
      [200, 401]
    )
    t.match(await attacker.browser.post(confirm, { token: strangerToken }), { status: 410 })
  })
})

t.test('a registration with a foreign address, if accounts can be used at once,', async t => {
  const service = await build(t)

  await t.test('loses its password, session and links when the owner follows the link', async t => {
    const owner = newUser()
    const attacker = await registerAs(service, owner.email, 'a phrase of the stranger')
    const otherAddress = newUser().email
    const token = await nextToken(service, owner.email, 'email_verification')
    await attacker.browser.post('/v1/me/email', { password: attacker.password, email: otherAddress })
    const changeToken = await nextToken(service, otherAddress, 'email_change')
    const browser = service.browser()
    t.match(
      await browser.post(confirm, { token }),
      confirmationRequired(['session', 'password', 'new_password'])
    )
    t.match(
      (await attacker.browser.get('/v1/me')).body,
      { email_verified: false },
      'the request alone changes nothing'
    )
    t.equal((await browser.post(confirm, { token, new_password: owner.password })).status, 204)
    t.strictSame(
      [
        await signIn(service, owner.email, attacker.password),
        await signIn(service, owner.email, owner.password)
      ],
      [401, 200]
    )
    t.equal((await attacker.browser.get('/v1/me')).status, 401)
    t.equal((await attacker.browser.post('/v1/auth/refresh')).status, 401)
    t.equal(
      (await attacker.browser.post(confirm, { token: changeToken, password: attacker.password })).status,
      410
    )
  })
  await t.test('does not affect the owner who registered first', async t => {
    const owner = newUser()
    const { browser } = await registerAs(service, owner.email, owner.password)
    t.equal((await registerAs(service, owner.email, 'a phrase of the stranger')).status, 409)
    t.equal(
      (await browser.post(confirm, { token: await nextToken(service, owner.email, 'email_verification') }))
        .status,
      204
    )
    t.match((await browser.get('/v1/me')).body, { email_verified: true })
    t.strictSame(
      [await signIn(service, owner.email, owner.password), (await browser.post('/v1/auth/refresh')).status],
      [200, 200]
    )
  })
})

for (const required of ['false', 'true']) {
  t.test(`a change of address, with REQUIRE_EMAIL_VERIFICATION=${required}`, async t => {
    const service = await build(t, { REQUIRE_EMAIL_VERIFICATION: required })

    await t.test(
      'to a foreign address does not give its owner an account that the sender could take back',
      async t => {
        const [stranger, owner] = [await verifiedUser(service), newUser()]
        await stranger.browser.post('/v1/me/email', { password: stranger.password, email: owner.email })
        const token = await nextToken(service, owner.email, 'email_change')
        for (const proof of [{}, { new_password: owner.password }]) {
          t.match(
            await service.browser().post(confirm, { token, ...proof }),
            confirmationRequired(['session', 'password'])
          )
        }
        t.equal((await service.browser().post(confirm, { token, password: owner.password })).status, 403)
        t.match((await stranger.browser.get('/v1/me')).body, { email: stranger.email })
        const registration = await registerAs(service, owner.email, owner.password)
        t.equal(
          (
            await registration.browser.post(confirm, {
              token: await nextToken(service, owner.email, 'email_verification')
            })
          ).status,
          204
        )
        const {
          body: { user }
        } = await service.browser().post(login, owner)
        t.not(user.id, stranger.id)
        t.equal(await signIn(service, owner.email, stranger.password), 401)
      }
    )
    await t.test('to a mistyped address does not give the account to the reader of that mailbox', async t => {
      const [owner, stranger] = [await verifiedUser(service), newUser()]
      await owner.browser.post('/v1/me/email', { password: owner.password, email: stranger.email })
      const mistypedToken = await nextToken(service, stranger.email, 'email_change')
      const rightAddress = newUser().email
      await owner.browser.post('/v1/me/email', { password: owner.password, email: rightAddress })
      const token = await nextToken(service, rightAddress, 'email_change')
      t.match(
        await service.browser().post(confirm, { token: mistypedToken, password: owner.password }),
        { status: 410 },
        'the second request invalidates the first one'
      )
      t.equal((await owner.browser.post(confirm, { token })).status, 204)
      t.match((await owner.browser.get('/v1/me')).body, { email: rightAddress, email_verified: true })
    })
    await t.test('can be undone only by the owner, even if a thief knows the password', async t => {
      const [owner, thiefAddress, thiefPassword] = [
        await verifiedUser(service),
        newUser().email,
        'a phrase of the thief'
      ]
      const thief = service.browser()
      thief.accessToken = (
        await thief.post(login, { email: owner.email, password: owner.password })
      ).body.access_token
      await thief.post('/v1/me/email', { password: owner.password, email: thiefAddress })
      await mailTo(service, owner.email, 'email_change_requested')
      t.equal(
        (await thief.post(confirm, { token: await nextToken(service, thiefAddress, 'email_change') })).status,
        204
      )
      const undoToken = await nextToken(service, owner.email, 'email_changed')
      await thief.post('/v1/me/password', { current_password: owner.password, new_password: thiefPassword })
      await thief.post(linkRoutes.password_reset, { email: thiefAddress })
      await thief.post('/v1/auth/password-reset/confirm', {
        token: await nextToken(service, thiefAddress, 'password_reset'),
        new_password: `${thiefPassword} 2`
      })
      t.match(await service.browser().post(confirm, { token: undoToken, new_password: owner.password }), {
        status: 400,
        body: { errors: [{ pointer: '/new_password' }] }
      })
      t.equal((await service.browser().post(confirm, { token: undoToken })).status, 204)
      t.equal((await thief.get('/v1/me')).status, 401)
      for (const password of [owner.password, thiefPassword, `${thiefPassword} 2`]) {
        for (const email of [owner.email, thiefAddress]) t.equal(await signIn(service, email, password), 401)
      }
      const resetToken = await nextToken(service, owner.email, 'password_reset')
      t.equal(
        (
          await service
            .browser()
            .post('/v1/auth/password-reset/confirm', { token: resetToken, new_password: owner.password })
        ).status,
        204
      )
      t.match(await service.browser().post(login, { email: owner.email, password: owner.password }), {
        status: 200,
        body: { user: { id: owner.id, email: owner.email } }
      })
    })
    await t.test('of an account without a password becomes invalid when its session ends', async t => {
      for (const cause of [
        'sign-out everywhere', 'new password', 'password reset', 'administrator'
      ] as const) {
        const owner = await verifiedUser(service)
        await service.sql('update users set password_hash = null where id = $1', [owner.id])
        const signInByLink = async () => {
          const browser = service.browser()
          await browser.post(linkRoutes.magic_link, { email: owner.email })
          const { body } = await browser.post('/v1/auth/magic-link/confirm', {
            token: await nextToken(service, owner.email, 'magic_link')
          })
          browser.accessToken = body.access_token
          return browser
        }
        const [thief, thiefAddress] = [await signInByLink(), newUser().email]
        t.equal((await thief.post('/v1/me/email', { email: thiefAddress })).status, 202)
        const token = await nextToken(service, thiefAddress, 'email_change')
        t.match(
          await service.browser().post(confirm, { token }),
          confirmationRequired(['session']),
          'the link requires the session'
        )
        const ownerBrowser = await signInByLink()
        if (cause === 'sign-out everywhere') await ownerBrowser.delete('/v1/me/sessions')
        if (cause === 'new password') {
          await ownerBrowser.post('/v1/me/password', { new_password: owner.password })
        }
        if (cause === 'password reset') {
          await ownerBrowser.post(linkRoutes.password_reset, { email: owner.email })
          await ownerBrowser.post('/v1/auth/password-reset/confirm', {
            token: await nextToken(service, owner.email, 'password_reset'),
            new_password: owner.password
          })
        }
        if (cause === 'administrator') {
          const admin = await verifiedUser(service)
          await service.sql("update users set roles = '{user,admin}' where id = $1", [admin.id])
          admin.browser.accessToken = (await admin.browser.post('/v1/auth/refresh')).body.access_token
          t.equal((await admin.browser.delete(`/v1/admin/users/${owner.id}/sessions`)).status, 204)
        }
        for (const browser of [thief, ownerBrowser, service.browser()]) {
          t.equal((await browser.post(confirm, { token })).status, 410, cause)
        }
        t.strictSame(await service.sql('select email from users where id = $1', [owner.id]), [
          { email: owner.email }
        ])
      }
    })
  })
}

// Two actors take random steps, and each reads only their own mailbox. The invariant: if an actor has
// verified an address, the other actor has no access to the account.
const actors = ['owner', 'stranger'] as const
type Actor = typeof actors[number]
const actions = [
  'register', 'request link', 'confirm', 'change address', 'reset password', 'use magic link', 'login',
  'refresh', 'sign out'
] as const
// The actions that the invariant is about are more frequent.
const weightedActions = [...actions, 'register', 'confirm', 'confirm'] as const
const proofs = ['browser', 'password', 'new_password', 'nothing'] as const
const requestedKinds = ['email_verification', 'password_reset', 'magic_link'] as const

interface Step {
  actor: Actor
  action: (typeof actions)[number]
  to: Actor
  proof: (typeof proofs)[number]
  which: number
}

interface MailboxOwner {
  email: string
  browser: Browser
  /** The links in the mailbox. */
  links: Array<{ kind: string, token: string }>
  /** The passwords that this actor has chosen. */
  passwords: string[]
  /** The access tokens that this actor has received. */
  accessTokens: string[]
}
type Parties = Record<Actor, MailboxOwner>

const confirmingKinds = ['email_verification', 'email_change', 'email_changed']
const choose = <Item>(items: readonly Item[], which: number) => items[which % items.length]

for (const required of ['false', 'true']) {
  t.test(
    `two actors never share a verified account, with REQUIRE_EMAIL_VERIFICATION=${required}`,
    async t => {
      const service = await build(t, { REQUIRE_EMAIL_VERIFICATION: required })
      // The jobs are delayed, so the test reads the mails from the database.
      await service.sql(`
      create function delay_job () returns trigger language plpgsql as $$
      begin new.run_at := now() + interval '1 day'; return new; end $$`)
      await service.sql(
        'create trigger delay_job before insert on jobs for each row execute function delay_job()'
      )
      const randomStep = fc.record({
        actor: fc.constantFrom(...actors),
        action: fc.constantFrom(...weightedActions),
        to: fc.constantFrom(...actors),
        proof: fc.constantFrom(...proofs),
        which: fc.nat(20)
      })
      let histories = 0
      await fc.assert(
        fc.asyncProperty(fc.array(randomStep, { minLength: 6, maxLength: 14 }), async steps => {
          const party = (): MailboxOwner => ({
            email: newUser().email,
            browser: service.browser(),
            links: [],
            passwords: [],
            accessTokens: []
          })
          const parties = { owner: party(), stranger: party() }
          for (const step of steps) {
            await takeStep(service, parties, step)
            await deliverMails(service, parties)
          }
          await assertSeparation(service, parties)
          histories++
        }),
        { numRuns: scale(60, 15), interruptAfterTimeLimit: 8_000 }
      )
      t.comment(`${histories} histories`)
      t.ok(histories > 0)
    }
  )
}

/** Takes one step, if the actor has what it requires. */
async function takeStep (
  service: Service,
  parties: Parties,
  { actor, action, to, proof, which }: Step
): Promise<void> {
  const self = parties[actor]
  const { browser } = self
  const { email } = parties[to]
  const choosePassword = () => {
    const { password } = newUser()
    self.passwords.push(password)
    return password
  }
  const knownPassword = choose(self.passwords, which)
  switch (action) {
    case 'register':
      keepTokens(self, await browser.post(register, { email, password: choosePassword() }))
      return
    case 'request link':
      await browser.post(linkRoutes[choose(requestedKinds, which) ?? 'magic_link'], { email })
      return
    case 'login':
      if (knownPassword !== undefined) {
        keepTokens(self, await browser.post(login, { email, password: knownPassword }))
      }
      return
    case 'refresh':
      keepTokens(self, await browser.post('/v1/auth/refresh'))
      return
    case 'sign out':
      await browser.delete('/v1/me/sessions')
      return
    case 'change address':
      await browser.post('/v1/me/email', {
        email,
        ...(knownPassword !== undefined && { password: knownPassword })
      })
      return
    case 'reset password': {
      const token = linkOf(self, ['password_reset', 'invitation'], which)
      if (token !== undefined) {
        await browser.post('/v1/auth/password-reset/confirm', { token, new_password: choosePassword() })
      }
      return
    }
    case 'use magic link': {
      const token = linkOf(self, ['magic_link'], which)
      if (token !== undefined) keepTokens(self, await browser.post('/v1/auth/magic-link/confirm', { token }))
      return
    }
    case 'confirm': {
      const token = linkOf(self, confirmingKinds, which)
      if (token === undefined) return
      const password = choose(self.passwords, which)
      if (proof === 'browser') await browser.post(confirm, { token })
      else if (proof === 'new_password') {
        await service.browser().post(confirm, { token, new_password: choosePassword() })
      } else {
        await service
          .browser()
          .post(confirm, { token, ...(proof === 'password' && password !== undefined && { password }) })
      }
    }
  }
}

const linkOf = ({ links }: MailboxOwner, kinds: readonly string[], which: number) =>
  choose(links.filter(({ kind }) => kinds.includes(kind)), which)?.token

function keepTokens (self: MailboxOwner, { status, body }: Answer) {
  if (status >= 300 || body.access_token === undefined) return
  self.browser.accessToken = body.access_token
  self.accessTokens.push(body.access_token)
}

/** Delivers each enqueued mail to its mailbox. */
async function deliverMails ({ app }: Service, parties: Parties): Promise<void> {
  const jobs = await app.db.query<{ sealed: Buffer; user_id: string | null }>(
    "delete from jobs where kind = 'mail' returning sealed, user_id"
  )
  for (const { sealed, user_id: userId } of jobs) {
    const mail = unsealMail([keyEncryptionKey], sealed)
    const recipient = await findRecipient(app.db, { userId }, mail)
    const mailbox = actors.map(actor => parties[actor]).find(({ email }) => email === recipient?.address)
    if (mailbox && mail.token !== undefined) mailbox.links.push({ kind: mail.kind, token: mail.token })
  }
}

/**
 * Lets both actors try all their links, and throws if one has access to an account that the other verified.
 */
async function assertSeparation (service: Service, parties: Parties): Promise<void> {
  for (const actor of [...actors].reverse()) {
    const { links, passwords, browser } = parties[actor]
    for (const { token } of links.filter(({ kind }) => confirmingKinds.includes(kind))) {
      await browser.post(confirm, { token })
      for (const password of passwords.slice(-2)) await service.browser().post(confirm, { token, password })
    }
    await deliverMails(service, parties)
  }
  const holders = new Map<string, Actor>()
  for (const actor of actors) {
    for (const { id, email, email_verified: isVerified } of await accounts(
      service,
      parties,
      parties[actor]
    )) {
      if (!isVerified) continue
      if (email !== parties[actor].email) {
        throw new Error(`the ${actor} has a verified account with a foreign address`)
      }
      if ((holders.get(id) ?? actor) !== actor) throw new Error('both have the same verified account')
      holders.set(id, actor)
    }
  }
}

/** The accounts that an actor has access to, by a session or a password. */
async function accounts (
  service: Service,
  parties: Parties,
  { browser, accessTokens, passwords }: MailboxOwner
) {
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
