import { randomBytes, randomUUID } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import fc from 'fast-check'
import { connect } from '../../src/database/database.ts'
import { generateToken } from '../../src/one-time-tokens/one-time-tokens.ts'
import { newId, random16 } from '../../src/crypto/random.ts'
import { mint, registrationSecrets } from '../../src/accounts/registration-token.ts'
import { setStatus } from '../../src/accounts/user-status.ts'
import { build, keyEncryptionKey, newUser, type Service } from '../support/app.ts'
import { mailsTo, mailTo } from '../support/inbox.ts'
import { waitUntil } from '../support/polling.ts'
import { repeatUnavailable } from '../support/repetition.ts'
import { scale } from '../support/soak.ts'
import { t } from '../support/test.ts'

const registerPath = '/v1/auth/register'
const loginPath = '/v1/auth/login'
const refreshPath = '/v1/auth/refresh'
const emailPath = '/v1/me/email'
const requestPaths = {
  email_verification: '/v1/auth/email-verification',
  password_reset: '/v1/auth/password-reset',
  magic_link: '/v1/auth/magic-link'
}
const confirmPaths = {
  email_verification: `${requestPaths.email_verification}/confirm`,
  password_reset: `${requestPaths.password_reset}/confirm`,
  magic_link: `${requestPaths.magic_link}/confirm`
}
const kinds = ['email_verification', 'password_reset', 'magic_link'] as const
type TestedKind = typeof kinds[number]
const newPassword = 'another phrase of my own'

type MailedUser = Awaited<ReturnType<typeof registerMailedUser>>

/** Registers a user, who is then signed in. `token` is that of the link which verifies the address. */
async function registerMailedUser (service: Service, { isVerified = true } = {}) {
  const { email, password } = newUser()
  const browser = service.browser()
  const { body, status } = await browser.post(registerPath, { email, password })
  if (status !== 201) throw new Error(`the registration was answered ${status}`)
  browser.accessToken = body.access_token
  const token = await mailedToken(service, email, 'email_verification')
  if (isVerified) await browser.post(confirmPaths.email_verification, { token })
  return { email, password, browser, id: String(body.user.id), token }
}

/** Waits for a mail and returns the token of its link. */
const mailedToken = async (
  service: Service,
  email: string,
  kind: TestedKind | 'email_change' | 'email_changed'
) =>
  (await mailTo(service, email, kind)).token

/** Requests a link and returns its token. */
async function requestLink (service: Service, kind: TestedKind, email: string) {
  const { status } = await service.browser().post(requestPaths[kind], { email })
  if (status !== 202) throw new Error(`the request for a link was answered ${status}`)
  return await mailedToken(service, email, kind)
}

/** Uses a link in a browser without cookies. */
const useLink = async (
  service: Service,
  kind: TestedKind,
  body: { token: string } & Record<string, unknown>
) =>
  await repeatUnavailable(async () => await service.browser().post(confirmPaths[kind], body))
const verifyEmail = async (service: Service, body: { token: string } & Record<string, unknown>) =>
  await useLink(service, 'email_verification', body)
const resetPassword = async (service: Service, token: string, password = newPassword) =>
  await useLink(service, 'password_reset', { token, new_password: password })
const useMagicLink = async (service: Service, token: string) =>
  await useLink(service, 'magic_link', { token })

const signIn = async (service: Service, credentials: { password: string } & Record<string, unknown>) =>
  await service.browser().post(loginPath, credentials)
const signInStatus = async (service: Service, email: string, password: string) =>
  (await signIn(service, { email, password })).status

/** The response that asks for a credential of the account. */
const passwordRequired = (...methods: string[]) =>
  ({ status: 409, body: { code: 'password_required', methods } })

/** Uses a link ten times at once and returns the sorted statuses. */
const raceLink = async (
  service: Service,
  kind: TestedKind,
  body: { token: string } & Record<string, unknown>
) => {
  const uses = Array.from({ length: 10 }, async () => (await useLink(service, kind, body)).status)
  return (await Promise.all(uses)).sort()
}
/** The statuses of a race that one request wins. */
const oneWinner = (status: number) => [status, ...Array(9).fill(410)]

t.test('a request for a link', async t => {
  const service = await build(t)
  const ada = await registerMailedUser(service, { isVerified: false })
  const disabled = await registerMailedUser(service, { isVerified: false })
  await service.sql('update users set disabled_at = now() where id = $1', [disabled.id])
  await service.sql('delete from jobs')

  await t.test('gets the same response for every address, and mails only active accounts', async t => {
    for (const kind of kinds) {
      const unknown = newUser().email
      for (const email of [ada.email, ada.email.toUpperCase(), unknown, disabled.email]) {
        const { status, body } = await service.browser().post(requestPaths[kind], { email })
        t.strictSame([status, body], [202, { status: 'accepted' }], `${kind} ${email}`)
      }
      const page = kind.replaceAll('_', '-')
      t.match(await mailTo(service, ada.email, kind), {
        link: new RegExp(`^http://localhost:3000/${page}#token=lkl_[\\w-]{43}$`), language: 'en'
      })
      // Mails come in the order of their requests: once this one is here, the earlier requests are done.
      await mailTo(service, ada.email, kind)
      t.strictSame(mailsTo(service, unknown), [])
      t.strictSame(mailsTo(service, disabled.email).filter(each => each !== 'email_verification'), [])
    }
  })
  await t.test('needs a valid address', async t => {
    for (const kind of kinds) {
      t.match(await service.browser().post(requestPaths[kind], { email: 'nobody at all' }), {
        status: 400, body: { code: 'validation_failed', errors: [{ pointer: '/email' }] }
      })
    }
  })
  await t.test('is answered in the language of the request, or else of the user', async t => {
    const email = newUser().email
    const languageOf = async (kind: TestedKind) => (await mailTo(service, email, kind)).language
    const german = { 'accept-language': 'de-AT, en;q=0.5' }
    await service.browser().post(registerPath, { ...newUser(), email }, german)
    t.equal(await languageOf('email_verification'), 'de')
    await requestLink(service, 'password_reset', email)
    await service.browser().post(requestPaths.magic_link, { email }, { 'accept-language': 'fr, en;q=0.1' })
    t.equal(await languageOf('magic_link'), 'en')
    await service.browser().post(requestPaths.magic_link, { email }, { 'accept-language': 'fr' })
    t.equal(await languageOf('magic_link'), 'de')
  })
  await t.test('stores only a digest of the token', async t => {
    const token = await requestLink(service, 'password_reset', ada.email)
    const rows = await service.sql(
      'select one_time_tokens.*, jobs.* from one_time_tokens full join jobs on false')
    t.notMatch(JSON.stringify(rows), token)
    const [row] = await service.sql<{ hash: string }>(
      "select encode(token_hash, 'hex') as hash from one_time_tokens")
    t.match(row?.hash, /^[0-9a-f]{64}$/)
  })
  await t.test('sends no verification mail for an address that is verified', async t => {
    const { email } = await registerMailedUser(service)
    await service.browser().post(requestPaths.email_verification, { email })
    await requestLink(service, 'magic_link', email)
    t.strictSame(mailsTo(service, email), ['email_verification', 'magic_link'])
  })
})

t.test('a link', async t => {
  const service = await build(t)

  await t.test('works once, also if it is used many times at once', async t => {
    const { id, email, password, token } = await registerMailedUser(service, { isVerified: false })
    t.strictSame(await raceLink(service, 'email_verification', { token, password }), oneWinner(204))
    const magicLink = await requestLink(service, 'magic_link', email)
    t.strictSame(await raceLink(service, 'magic_link', { token: magicLink }), oneWinner(200))
    const reset = { token: await requestLink(service, 'password_reset', email), new_password: newPassword }
    t.strictSame(await raceLink(service, 'password_reset', reset), oneWinner(204))
    const events = await service.sql(
      'select from audit_events where user_id = $1 and type in ($2, $3)',
      [id, 'user.verified', 'user.password_reset'])
    t.equal(events.length, 2)
  })
  await t.test('works only for its own purpose', async t => {
    const { email, password, token: verification } = await registerMailedUser(service, { isVerified: false })
    const tokens = {
      email_verification: verification,
      password_reset: await requestLink(service, 'password_reset', email),
      magic_link: await requestLink(service, 'magic_link', email)
    }
    for (const kind of kinds) {
      for (const other of kinds.filter(each => each !== kind)) {
        const body = { token: tokens[kind], ...other === 'password_reset' && { new_password: newPassword } }
        const expired = { status: 410, body: { code: 'link_expired' } }
        t.match(await useLink(service, other, body), expired, `${kind} as ${other}`)
      }
    }
    t.equal((await verifyEmail(service, { token: verification, password })).status, 204)
  })
  await t.test('is refused if it is expired, unknown, malformed, or of a disabled account', async t => {
    const { email, id } = await registerMailedUser(service)
    const reset = async (token: string) => (await resetPassword(service, token)).status
    const expired = await requestLink(service, 'password_reset', email)
    await service.sql('update one_time_tokens set expires_at = now() where user_id = $1', [id])
    t.equal(await reset(expired), 410)
    const token = await requestLink(service, 'password_reset', email)
    await service.sql('update users set disabled_at = now() where id = $1', [id])
    t.equal(await reset(token), 410)
    const malformed = ['lkl_', 'x', '\0', '💥'.repeat(50), `${token}=`, token.slice(4), token.toUpperCase()]
    for (const each of malformed) t.equal(await reset(each), 410, each)
    t.equal(await reset(''), 400)
    t.equal(await reset('x'.repeat(201)), 400)
  })
  await t.test('is purged after it has expired', async t => {
    const { email } = await registerMailedUser(service)
    await requestLink(service, 'magic_link', email)
    const { purgeExpired } = await import('../../src/one-time-tokens/purge.ts')
    await service.sql("update one_time_tokens set expires_at = now() - interval '1 second'")
    while (await purgeExpired(service.app.db, 10) > 0);
    t.strictSame(await service.sql('select from one_time_tokens'), [])
  })
})

t.test('a password reset', async t => {
  const service = await build(t)

  await t.test('ends every session, invalidates every other link, and signs no one in', async t => {
    const ada = await registerMailedUser(service)
    const otherBrowser = service.browser()
    await otherBrowser.post(loginPath, ada)
    const token = await requestLink(service, 'password_reset', ada.email)
    const secondReset = await requestLink(service, 'password_reset', ada.email)
    const magicLink = await requestLink(service, 'magic_link', ada.email)
    const { status, text, cookies } = await resetPassword(service, token)
    t.strictSame([status, text, cookies], [204, '', []])
    t.equal((await ada.browser.get('/v1/me')).status, 401, 'the access token is revoked')
    for (const browser of [ada.browser, otherBrowser]) {
      t.equal((await browser.post(refreshPath)).status, 401, 'the refresh token is revoked')
    }
    t.equal(await signInStatus(service, ada.email, ada.password), 401)
    t.equal(await signInStatus(service, ada.email, newPassword), 200)
    t.equal((await resetPassword(service, secondReset)).status, 410)
    t.equal((await useMagicLink(service, magicLink)).status, 410)
    await mailTo(service, ada.email, 'password_changed')
    const [event] = await service.sql<{ actor_id: string, ip: string }>(
      "select actor_id, ip from audit_events where user_id = $1 and type = 'user.password_reset'", [ada.id])
    t.match(event, { actor_id: ada.id, ip: '127.0.0.1' })
  })
  await t.test('leaves the link valid if the new password is rejected', async t => {
    const ada = await registerMailedUser(service)
    const token = await requestLink(service, 'password_reset', ada.email)
    const rejected = (reason: string) => ({ status: 422, body: { reasons: [reason] } })
    t.match(await resetPassword(service, token, 'password1'), rejected('too_common'))
    t.match(await resetPassword(service, token, `my ${ada.email}`), rejected('contains_email'))
    t.equal((await resetPassword(service, token)).status, 204)
  })
  await t.test('verifies the address', async t => {
    const ada = await registerMailedUser(service, { isVerified: false })
    await resetPassword(service, await requestLink(service, 'password_reset', ada.email))
    const { body } = await signIn(service, { email: ada.email, password: newPassword })
    t.equal(body.user.email_verified, true)
    t.equal((await verifyEmail(service, { token: ada.token })).status, 410)
  })
  await t.test('resets the failed sign-ins of the account', async t => {
    const strict = await build(t, { LOGIN_RATE_LIMIT: '2/15m' }, { url: service.url })
    const ada = await registerMailedUser(strict)
    for (let i = 0; i < 2; i++) await signInStatus(strict, ada.email, 'wrong')
    t.equal(await signInStatus(strict, ada.email, ada.password), 429)
    await resetPassword(strict, await requestLink(strict, 'password_reset', ada.email))
    t.equal(await signInStatus(strict, ada.email, newPassword), 200)
  })
  await t.test('leaves no session of a concurrent sign-in with the old password', async t => {
    for (let round = 0; round < scale(10, 4); round++) {
      const ada = await registerMailedUser(service)
      const token = await requestLink(service, 'password_reset', ada.email)
      const thief = service.browser()
      await Promise.all([thief.post(loginPath, ada), resetPassword(service, token)])
      t.equal((await thief.post(refreshPath)).status, 401)
    }
  })
})

t.test('a magic link', async t => {
  const service = await build(t)

  await t.test('signs the user in, and leaves their password and sessions as they are', async t => {
    const ada = await registerMailedUser(service)
    const browser = service.browser()
    const token = await requestLink(service, 'magic_link', ada.email)
    const { status, body, cookies } = await browser.post(confirmPaths.magic_link, { token, remember: true })
    t.equal(status, 200)
    t.match(body, { token_type: 'Bearer', user: { id: ada.id, email: ada.email, email_verified: true } })
    t.match(cookies.join(), /refresh_token_3000=lkr_[^;]+;.*Max-Age/)
    t.equal((await browser.post(refreshPath)).status, 200)
    t.equal(await signInStatus(service, ada.email, ada.password), 200)
    t.equal((await ada.browser.get('/v1/me')).status, 200)
    const { items } = (await ada.browser.get('/v1/me/sessions')).body
    const { methods } = items.find(({ id }: { id: string }) => id === body.session_id)
    t.strictSame(methods, ['otp'])
  })
  await t.test('invalidates a password that was set before the address was verified', async t => {
    const thief = await registerMailedUser(service, { isVerified: false })
    const owner = service.browser()
    const token = await requestLink(service, 'magic_link', thief.email)
    const { body } = await owner.post(confirmPaths.magic_link, { token })
    t.match(body.user, { id: thief.id, email_verified: true })
    t.equal(await signInStatus(service, thief.email, thief.password), 401)
    t.equal((await thief.browser.get('/v1/me')).status, 401)
    t.equal((await thief.browser.post(refreshPath)).status, 401)
    t.equal((await owner.post(refreshPath)).status, 200)
  })
  await t.test('keeps to the session limit of a user', async t => {
    const limited = await build(t, { MAX_SESSIONS_PER_USER: '2' })
    const ada = await registerMailedUser(limited)
    for (let i = 0; i < 3; i++) {
      await useMagicLink(limited, await requestLink(limited, 'magic_link', ada.email))
    }
    const sessions = await limited.sql(
      'select from sessions where user_id = $1 and ended_at is null', [ada.id])
    t.equal(sessions.length, 2)
  })
})

t.test('a registration that needs a verified address', async t => {
  const service = await build(t, { REQUIRE_EMAIL_VERIFICATION: 'true' })
  const requestRegistration = async (body: object) => await service.browser().post(registerPath, body)
  const completeRegistration = async ({ email, password }: { email: string, password: string }) =>
    await verifyEmail(service, { token: await mailedToken(service, email, 'email_verification'), password })

  await t.test('is completed by the mailed link', async t => {
    const ada = { ...newUser(), name: 'Ada', username: 'ada.l' }
    const { email, username, password } = ada
    const { status, body, cookies } = await requestRegistration(ada)
    t.strictSame([status, body, cookies.length], [202, { status: 'verification_required' }, 1])
    const token = await mailedToken(service, email, 'email_verification')
    const notVerified = { status: 403, body: { code: 'email_not_verified' } }
    t.match(await signIn(service, { username, password }), notVerified)
    t.match(await signIn(service, { email, password }), notVerified)
    t.match(await signIn(service, { email, password: 'wrong' }), {
      status: 401, body: { code: 'invalid_credentials' }
    })
    t.strictSame(await raceLink(service, 'email_verification', { token, password }), oneWinner(204))
    t.match(await signIn(service, { email, password }), {
      status: 200, body: { user: { email, name: 'Ada', username: 'ada.l', email_verified: true } }
    })
    const events = await service.sql<{ type: string }>(
      "select type from audit_events where type like 'user.%' order by id")
    t.strictSame(events.map(({ type }) => type), ['user.registered', 'user.verified'])
  })
  await t.test('wins its address by the first use of a link, and the other registrations fail', async t => {
    const { email } = newUser()
    const applicants = Array.from({ length: 4 }, () => ({ email, password: newUser().password }))
    const links: Array<{ token: string, password: string }> = []
    for (const applicant of applicants) {
      await requestRegistration(applicant)
      const token = await mailedToken(service, email, 'email_verification')
      links.push({ token, password: applicant.password })
    }
    const statuses = await Promise.all(links.map(async link => (await verifyEmail(service, link)).status))
    t.strictSame([...statuses].sort(), [204, 410, 410, 410])
    const signIns = applicants.map(async ({ password }) => await signInStatus(service, email, password))
    t.strictSame(await Promise.all(signIns), statuses.map(status => status === 204 ? 200 : 401))
  })
  await t.test('gets the same response for a taken address, whose owner is notified', async t => {
    const ada = newUser()
    await requestRegistration(ada)
    await completeRegistration(ada)
    const { status, body } = await requestRegistration({ ...newUser(), email: ada.email })
    t.strictSame([status, body], [202, { status: 'verification_required' }])
    await mailTo(service, ada.email, 'registration_taken')
    t.equal(await signInStatus(service, ada.email, ada.password), 200)
  })
  await t.test('does not reveal at sign-in whether the address was taken', async t => {
    const ada = newUser()
    await requestRegistration(ada)
    await completeRegistration(ada)
    const limited = await build(
      t, { REQUIRE_EMAIL_VERIFICATION: 'true', LOGIN_RATE_LIMIT: '3/15m' }, { url: service.url })
    const statuses = await Promise.all([ada.email, newUser().email].map(async email => {
      await limited.browser().post(registerPath, { email, password: newPassword })
      const statuses: number[] = []
      for (const password of ['wrong', newPassword, newPassword, newPassword]) {
        statuses.push(await signInStatus(limited, email, password))
      }
      return statuses
    }))
    t.strictSame(statuses, [[401, 403, 403, 429], [401, 403, 403, 429]])
  })
  await t.test('stays invalid after another account has taken its address and left it again', async t => {
    const [ada, applicant] = [newUser(), newUser()]
    await requestRegistration(ada)
    await completeRegistration(ada)
    await requestRegistration(applicant)
    const registration = await mailedToken(service, applicant.email, 'email_verification')
    const browser = service.browser()
    browser.accessToken = (await browser.post(loginPath, ada)).body.access_token
    for (const email of [applicant.email, newUser().email]) {
      t.equal((await browser.post(emailPath, { password: ada.password, email })).status, 202)
      const token = await mailedToken(service, email, 'email_change')
      t.equal((await browser.post(confirmPaths.email_verification, { token })).status, 204)
      const { status } = await verifyEmail(service, { token: registration, password: applicant.password })
      t.equal(status, 410)
    }
  })
  await t.test('can be completed with another link, which invalidates the first', async t => {
    const ada = newUser()
    await requestRegistration(ada)
    const first = await mailedToken(service, ada.email, 'email_verification')
    const second = await requestLink(service, 'email_verification', ada.email)
    t.equal((await verifyEmail(service, { token: second, password: ada.password })).status, 204)
    t.equal((await verifyEmail(service, { token: first, password: ada.password })).status, 410)
    t.equal(await signInStatus(service, ada.email, ada.password), 200)
  })
  await t.test('is completed without its username if that was taken meanwhile', async t => {
    const [first, second] = [{ ...newUser(), username: 'both' }, { ...newUser(), username: 'both' }]
    await requestRegistration(first)
    await requestRegistration(second)
    for (const applicant of [first, second]) t.equal((await completeRegistration(applicant)).status, 204)
    t.match((await signIn(service, second)).status, 400)
    t.match(await signIn(service, { email: second.email, password: second.password }), {
      status: 200, body: { user: { username: null } }
    })
    t.match(await requestRegistration({ ...newUser(), username: 'both' }), {
      status: 409, body: { code: 'username_taken' }
    })
  })

  /**
   * Makes an account whose address was never verified, as it dates from before verification was required. The
   * service cannot know who made it. It has roles and a session.
   */
  async function makeUnverifiedAccount () {
    const { email, password } = newUser()
    await requestRegistration({ email, password, name: 'First' })
    await completeRegistration({ email, password })
    const browser = service.browser()
    const { body: { user } } = await browser.post(loginPath, { email, password })
    await service.sql(
      "update users set email_verified_at = null, roles = '{user,admin}' where id = $1", [user.id])
    return { email, password, browser, id: String(user.id) }
  }
  await t.test('hands an unverified account to the owner of its address, with their password', async t => {
    for (const method of ['cookie', 'password', 'new_password'] as const) {
      const squatter = await makeUnverifiedAccount()
      const { email } = squatter
      const owner = service.browser()
      await owner.post(registerPath, { email, password: newPassword, name: 'Second' })
      const token = await mailedToken(service, email, 'email_verification')
      const freshPassword = newUser().password
      const credentials = {
        cookie: {}, password: { password: newPassword }, new_password: { new_password: freshPassword }
      }
      t.match(await verifyEmail(service, { token }), passwordRequired('session', 'password', 'new_password'))
      const browser = method === 'cookie' ? owner : service.browser()
      const body = { token, ...credentials[method] }
      const { status } = await browser.post(confirmPaths.email_verification, body)
      t.equal(status, 204, method)
      t.equal((await squatter.browser.post(refreshPath)).status, 401)
      const password = method === 'new_password' ? freshPassword : newPassword
      const passwords = [squatter.password, newPassword, freshPassword]
      for (const invalid of passwords.filter(each => each !== password)) {
        t.equal(await signInStatus(service, email, invalid), 401)
      }
      const user = { id: squatter.id, name: 'First', email_verified: true, roles: ['user', 'admin'] }
      t.match(await signIn(service, { email, password }), { status: 200, body: { user } })
    }
  })
  await t.test('leaves an unverified account unchanged if its link is used in a session of it', async t => {
    const owner = await makeUnverifiedAccount()
    const attacker = { email: owner.email, password: newUser().password }
    await requestRegistration(attacker)
    const token = await mailedToken(service, owner.email, 'email_verification')
    t.equal((await owner.browser.post(confirmPaths.email_verification, { token })).status, 204)
    t.equal(await signInStatus(service, owner.email, attacker.password), 401)
    t.equal(await signInStatus(service, owner.email, owner.password), 200)
    t.equal((await owner.browser.post(refreshPath)).status, 200)
  })
  await t.test('does not count for a requested link, which takes the current or a new password', async t => {
    const [first, second] = [await makeUnverifiedAccount(), await makeUnverifiedAccount()]
    for (const { email } of [first, second]) {
      await requestRegistration({ email, password: newPassword })
      await mailTo(service, email, 'email_verification')
    }
    const firstToken = await requestLink(service, 'email_verification', first.email)
    t.match(await verifyEmail(service, { token: firstToken, password: newPassword }), {
      status: 403, body: { code: 'invalid_credentials' }
    })
    t.equal((await verifyEmail(service, { token: firstToken, password: first.password })).status, 204)
    t.equal(await signInStatus(service, first.email, first.password), 200)
    t.equal(await signInStatus(service, first.email, newPassword), 401)

    const freshPassword = newUser().password
    const secondToken = await requestLink(service, 'email_verification', second.email)
    t.equal((await verifyEmail(service, { token: secondToken, new_password: freshPassword })).status, 204)
    const signIns = [second.password, newPassword, freshPassword]
      .map(async password => await signInStatus(service, second.email, password))
    t.strictSame(await Promise.all(signIns), [401, 401, 200])
    t.equal((await second.browser.post(refreshPath)).status, 401)
  })
  await t.test('cannot be bypassed by an address change that only alters the case', async t => {
    const squatter = await makeUnverifiedAccount()
    squatter.browser.accessToken = (await squatter.browser.post(refreshPath)).body.access_token
    await requestRegistration({ email: squatter.email, password: newPassword })
    const email = upperCased(squatter.email)
    const { status } = await squatter.browser.post(emailPath, { password: squatter.password, email })
    t.equal(status, 202)
    const token = await mailedToken(service, email, 'email_change')
    const answer = await verifyEmail(service, { token, new_password: newPassword })
    t.match(answer, passwordRequired('session', 'password'))
    const [row] = await service.sql<{ verified: boolean }>(
      'select email_verified_at is not null as verified from users where id = $1', [squatter.id])
    t.strictSame(row, { verified: false })
  })
})

/** The same mailbox in another spelling. */
const upperCased = (email: string) => email.toUpperCase().replace('EXAMPLE.COM', 'example.com')

t.test('the verification of an address', async t => {
  const service = await build(t)
  // With pending registrations, a registration makes no account and no session before it is verified.
  const pendingService = await build(t, { REQUIRE_EMAIL_VERIFICATION: 'true' })
  const registerUnverified = async (at: Service, extra: object = {}) => {
    const { email, password } = newUser()
    const browser = at.browser()
    const { body, cookies } = await browser.post(registerPath, { email, password, ...extra })
    const token = await mailedToken(at, email, 'email_verification')
    return { email, password, browser, body, cookies, token }
  }
  const isVerified = async (at: Service, email: string) => (await at.sql<{ verified: boolean }>(
    'select email_verified_at is not null as verified from users where email = $1', [email]))[0]?.verified
  const cookieName = 'registration_3000'
  const cookieOf = ({ browser }: Awaited<ReturnType<typeof registerUnverified>>) =>
    browser.jar.get(cookieName) ?? ''
  const verifyWithCookie = async (
    at: Service, token: string, cookie: string, headers: Record<string, string> = {}
  ) => await at.browser().post(confirmPaths.email_verification, { token }, { cookie, ...headers })

  await t.test('accepts the registration cookie, which is opaque and lives as long as the link', async t => {
    for (const at of [service, pendingService]) {
      for (const delivery of ['cookie', 'body']) {
        const user = await registerUnverified(at, { refresh_token_delivery: delivery })
        const [line = ''] = user.cookies.filter(cookie => cookie.startsWith(cookieName))
        t.match(line, /^registration_3000=[\w-]{66}; Max-Age=86400; Path=\/; HttpOnly; SameSite=Strict$/)
        if (user.body.access_token !== undefined) await at.sql('delete from refresh_tokens')
        const answer = await user.browser.post(confirmPaths.email_verification, { token: user.token })
        t.equal(answer.status, 204)
        t.match(answer.cookies.join(), /^registration_3000=; Max-Age=0;/)
        t.equal(await isVerified(at, user.email), true)
      }
    }
    const secure = await build(t, { ISSUER_URL: 'https://auth.example.com' })
    const { cookies, token } = await registerUnverified(secure)
    const [line = ''] = cookies.filter(cookie => cookie.startsWith('__Host-registration'))
    const attributes = 'Max-Age=86400; Path=/; HttpOnly; Secure; SameSite=Strict'
    t.match(line, new RegExp(`^__Host-registration=[\\w-]{66}; ${attributes}$`))
    t.equal((await verifyWithCookie(secure, token, line.split(';')[0] ?? '')).status, 204)
  })
  await t.test('accepts the refresh cookie or the access token of a session of the account', async t => {
    const ada = await registerUnverified(service)
    ada.browser.jar.delete(cookieName)
    const { browser: stranger } = await registerUnverified(service)
    stranger.jar.delete(cookieName)
    const refused = await stranger.post(confirmPaths.email_verification, { token: ada.token })
    t.match(refused, passwordRequired('session', 'password', 'new_password'), 'a session of another account')
    for (let i = 0; i < 2; i++) await stranger.post(refreshPath)
    t.equal((await ada.browser.post(confirmPaths.email_verification, { token: ada.token })).status, 204)
    t.equal((await ada.browser.post(refreshPath)).status, 200, 'the refresh token still works')

    const bob = await registerUnverified(service)
    const withAccessToken = (accessToken: string) => {
      const browser = service.browser()
      browser.accessToken = accessToken
      return browser
    }
    const signedOut = withAccessToken(bob.body.access_token)
    await signedOut.post('/v1/auth/logout')
    const { status } = await signedOut.post(confirmPaths.email_verification, { token: bob.token })
    t.equal(status, 409, 'a session that has ended')
    const { body } = await signIn(service, { email: bob.email, password: bob.password })
    const signedIn = withAccessToken(body.access_token)
    t.equal((await signedIn.post(confirmPaths.email_verification, { token: bob.token })).status, 204)
  })
  await t.test('accepts the password, and counts a wrong one as a failed sign-in', async t => {
    for (const at of [service, pendingService]) {
      const required = at === pendingService ? 'true' : 'false'
      const strict = await build(
        t, { LOGIN_RATE_LIMIT: '3/15m', REQUIRE_EMAIL_VERIFICATION: required }, { url: at.url })
      const [ada, bob] = [await registerUnverified(strict), await registerUnverified(strict)]
      const { token } = ada
      t.equal((await verifyEmail(strict, { token: bob.token, password: bob.password })).status, 204)
      t.match(await verifyEmail(strict, { token, password: 'wrong' }), {
        status: 403, body: { code: 'invalid_credentials', methods: /password,new_password/ }
      })
      t.equal(await signInStatus(strict, ada.email, 'wrong'), 401)
      t.equal((await verifyEmail(strict, { token, password: 'wrong' })).status, 403)
      t.match(await verifyEmail(strict, { token, password: ada.password }), {
        status: 429, headers: { 'retry-after': /^\d+$/ }
      })
      t.equal(await signInStatus(strict, ada.email, ada.password), 429, 'the failures are counted together')
      const { status } = await ada.browser.post(confirmPaths.email_verification, { token })
      t.equal(status, 204, 'the link and the cookie still work')
    }
  })
  await t.test('without a credential names the accepted methods and changes nothing', async t => {
    const methods = new Map([
      [service, ['session', 'password', 'new_password']],
      [pendingService, ['password', 'new_password']]
    ])
    for (const [at, expected] of methods) {
      const { email, token } = await registerUnverified(at)
      t.match(await verifyEmail(at, { token }), passwordRequired(...expected))
      t.not(await isVerified(at, email), true)
    }
  })
  await t.test('accepts a new password, which replaces the old one and invalidates other links', async t => {
    for (const at of [service, pendingService]) {
      const { email, password, token } = await registerUnverified(at)
      const otherLinks = at === service
        ? [await requestLink(at, 'magic_link', email), await requestLink(at, 'email_verification', email)]
        : []
      t.match(await verifyEmail(at, { token, new_password: 'password1' }), {
        status: 422, body: { code: 'password_rejected', reasons: ['too_common'] }
      })
      t.match(await verifyEmail(at, { token, new_password: `my ${email}` }), {
        status: 422, body: { reasons: ['contains_email'] }
      })
      t.not(await isVerified(at, email), true)
      const uses = await raceLink(at, 'email_verification', { token, new_password: newPassword })
      t.strictSame(uses, oneWinner(204))
      t.equal(await signInStatus(at, email, password), 401)
      t.equal(await signInStatus(at, email, newPassword), 200)
      for (const link of otherLinks) t.equal((await useMagicLink(at, link)).status, 410)
      const links = await at.sql(
        `select from one_time_tokens join users on users.id = user_id
        where users.email = $1 and one_time_tokens.email_version > 0`, [email])
      t.strictSame(links, [])
    }
  })
  await t.test('rejects a new password together with another credential', async t => {
    for (const at of [service, pendingService]) {
      const { browser, email, password, token } = await registerUnverified(at)
      const withNewPassword = { token, new_password: newPassword }
      const rejected = {
        status: 400, body: { code: 'validation_failed', errors: [{ pointer: '/new_password' }] }
      }
      t.match(await browser.post(confirmPaths.email_verification, withNewPassword), rejected, 'the cookie')
      browser.jar.delete(cookieName)
      if (at === service) {
        t.match(await browser.post(confirmPaths.email_verification, withNewPassword), rejected, 'the session')
      }
      t.match(await verifyEmail(at, { ...withNewPassword, password }), rejected, 'the password')
      t.not(await isVerified(at, email), true)
      t.equal((await verifyEmail(at, { token, password })).status, 204)
    }
  })
  await t.test('refuses a registration cookie that is forged, or of another user or service', async t => {
    for (const at of [service, pendingService]) {
      const [ada, eve] = [await registerUnverified(at), await registerUnverified(at)]
      const cookie = cookieOf(ada)
      const flipped = Buffer.from(cookie, 'base64url').map((byte, index) => index === 48 ? byte ^ 1 : byte)
      const invalid = [
        cookieOf(eve), cookie.slice(0, -1), cookie.slice(2), `${cookie}A`, '', 'x',
        Buffer.from(flipped).toString('base64url'), mint(randomBytes(32), randomUUID())
      ]
      for (const value of invalid) {
        t.equal((await verifyWithCookie(at, ada.token, `${cookieName}=${value}`)).status, 409, value)
      }
      const withSecond = async (value: string) => (await verifyWithCookie(
        at, ada.token, `${cookieName}=${cookie}; ${cookieName}=${value}`)).status
      t.equal(await withSecond(cookieOf(eve)), 409, 'two valid cookies')
      t.equal(await withSecond('forged'), 204, 'two cookies, of which one is valid')
    }
  })
  await t.test('refuses a registration cookie that expired, or whose password was changed', async t => {
    const { id } = (await service.browser().post(registerPath, newUser())).body.user
    const [row] = await service.sql<{ email: string }>(
      "update users set created_at = now() - interval '25 hours' where id = $1 returning email", [id])
    const [secret] = registrationSecrets([keyEncryptionKey])
    const expired = `${cookieName}=${mint(secret, id)}`
    const token = await requestLink(service, 'email_verification', row?.email ?? '')
    t.equal((await verifyWithCookie(service, token, expired)).status, 409)

    const ada = await registerUnverified(service)
    const cookie = `${cookieName}=${cookieOf(ada)}`
    ada.browser.accessToken = ada.body.access_token
    const change = { current_password: ada.password, new_password: newPassword }
    await ada.browser.post('/v1/me/password', change)
    const secondToken = await requestLink(service, 'email_verification', ada.email)
    t.equal((await verifyWithCookie(service, secondToken, cookie)).status, 409)
  })
  await t.test('accepts a registration cookie made with any of the configured keys', async t => {
    const ada = await registerUnverified(pendingService)
    const keys = [randomBytes(32), keyEncryptionKey].map(key => key.toString('base64')).join()
    const rotated = await build(
      t, { REQUIRE_EMAIL_VERIFICATION: 'true', KEY_ENCRYPTION_KEY: keys }, { url: pendingService.url })
    t.equal((await verifyWithCookie(rotated, ada.token, `${cookieName}=${cookieOf(ada)}`)).status, 204)
  })
  await t.test('refuses cookies that a page of another site or origin sends', async t => {
    const ada = await registerUnverified(service)
    for (const name of [cookieName, 'refresh_token_3000']) {
      const cookie = `${name}=${ada.browser.jar.get(name)}`
      for (const headers of [{ origin: 'https://evil.example' }, { 'sec-fetch-site': 'same-site' }]) {
        t.match(await verifyWithCookie(service, ada.token, cookie, headers), {
          status: 403, body: { code: 'cross_site_request' }
        }, name)
      }
    }
    const sameOrigin = { origin: 'http://localhost:3000' }
    const answer = await verifyWithCookie(service, ada.token, `${cookieName}=${cookieOf(ada)}`, sameOrigin)
    t.equal(answer.status, 204)
  })
  await t.test('happens once, also if several links and credentials are used at once', async t => {
    for (const at of [service, pendingService]) {
      const ada = await registerUnverified(at)
      const tokens = [ada.token, await requestLink(at, 'email_verification', ada.email)]
      const freshPasswords = Array.from({ length: 4 }, () => newUser().password)
      const credentials = [
        {}, { password: ada.password }, ...freshPasswords.slice(0, 2).map(each => ({ new_password: each }))
      ]
      const bodies = tokens.flatMap(token => credentials.map(credential => ({ token, ...credential })))
      const statuses = await Promise.all(bodies.map(async body => {
        const browser = 'password' in body || 'new_password' in body ? at.browser() : ada.browser
        return (await repeatUnavailable(async () =>
          await browser.post(confirmPaths.email_verification, body))).status
      }))
      t.strictSame(statuses.filter(status => status === 204).length, 1)
      t.strictSame(statuses.filter(status => ![204, 409, 410].includes(status)), [])
      const signIns = await Promise.all(
        [ada.password, ...freshPasswords].map(async password => await signInStatus(at, ada.email, password)))
      t.equal(signIns.filter(status => status === 200).length, 1, 'one password works')
      const events = await at.sql(
        `select from audit_events join users on users.id = user_id
        where type = 'user.verified' and email = $1`, [ada.email])
      t.equal(events.length, 1)
    }
  })
  await t.test('has one outcome if another change of the account races it', async t => {
    for (const change of ['password change', 'password reset', 'disabling', 'deletion'] as const) {
      const ada = await registerUnverified(service)
      ada.browser.accessToken = ada.body.access_token
      const id = String(ada.body.user.id)
      const reset = await requestLink(service, 'password_reset', ada.email)
      const freshPassword = newUser().password
      const changes = {
        'password change': async () => await ada.browser.post(
          '/v1/me/password', { current_password: ada.password, new_password: newPassword }),
        'password reset': async () => await resetPassword(service, reset),
        disabling: async () => {
          await service.app.db.transaction(async tx => await setStatus(tx, id, 'disabled', {}))
        },
        deletion: async () => await ada.browser.send('DELETE', '/v1/me', { password: ada.password })
      }
      const [verified, changed] = await Promise.all([
        verifyEmail(service, { token: ada.token, new_password: freshPassword }), changes[change]()
      ])
      t.ok([204, 410].includes(verified.status), `${change}: ${verified.status}`)
      const [withFirst, withNew, withFresh] = await Promise.all([ada.password, newPassword, freshPassword]
        .map(async password => await signInStatus(service, ada.email, password)))
      const statuses = [withFirst, withNew, withFresh]
      t.ok(statuses.filter(status => status === 200).length <= 1, `${change}: ${statuses.join()}`)
      if (verified.status === 204 && change === 'disabling') t.equal(withFresh, 403)
      if (verified.status === 410 && changed && changed.status === 204) t.equal(withFresh, 401)
      const isOnlyDisabled = change === 'disabling' && verified.status === 410
      t.equal(withFirst, isOnlyDisabled ? 403 : 401, 'the first password no longer works')
    }
  })
  await t.test('wins against a second registration of the address that races it', async t => {
    const ada = await registerUnverified(pendingService)
    const [verified] = await Promise.all([
      repeatUnavailable(async () =>
        await ada.browser.post(confirmPaths.email_verification, { token: ada.token })),
      pendingService.browser().post(registerPath, { email: ada.email, password: newPassword })
    ])
    t.equal(verified.status, 204)
    t.equal(await signInStatus(pendingService, ada.email, ada.password), 200)
    t.ok([401, 403].includes(await signInStatus(pendingService, ada.email, newPassword)))
  })
})

t.test('a change of address', async t => {
  const service = await build(t)
  const requestChange = async (
    { browser, password }: Pick<MailedUser, 'browser' | 'password'>,
    email: string
  ) =>
    await browser.post(emailPath, { password, email })
  /** Requests a change and returns the token of the link to the new address. */
  const changeLink = async (user: MailedUser, email: string) => {
    await requestChange(user, email)
    return await mailedToken(service, email, 'email_change')
  }
  const useChangeLink = async (token: string, password?: string) =>
    (await verifyEmail(service, { token, ...password !== undefined && { password } })).status
  /** Changes the address, which must succeed, and returns the token of the link that undoes it. */
  const changeAddress = async (user: MailedUser, email: string, from = user.email) => {
    const status = await useChangeLink(await changeLink(user, email), user.password)
    if (status !== 204) throw new Error(`the change of address was answered ${status}`)
    return await mailedToken(service, from, 'email_changed')
  }

  await t.test('needs the password, and an address that no account has', async t => {
    const ada = await registerMailedUser(service)
    const bob = await registerMailedUser(service)
    t.match(await requestChange({ ...ada, password: 'wrong' }, newUser().email), {
      status: 403, body: { code: 'invalid_credentials' }
    })
    t.match(await requestChange(ada, bob.email), { status: 409, body: { code: 'email_taken' } })
    t.match(await requestChange(ada, 'nobody at all'), { status: 400 })
    t.match(await requestChange({ ...ada, browser: service.browser() }, newUser().email), { status: 401 })
  })
  await t.test('does not reveal a taken address if addresses must be verified', async t => {
    const [ada, bob] = [await registerMailedUser(service), await registerMailedUser(service)]
    const pendingService = await build(t, { REQUIRE_EMAIL_VERIFICATION: 'true' }, { url: service.url })
    const browser = pendingService.browser()
    await browser.post(loginPath, { email: ada.email, password: ada.password })
    browser.accessToken = (await browser.post(refreshPath)).body.access_token
    const user = { browser, password: ada.password }
    t.match(await requestChange(user, bob.email), { status: 202 })
    t.equal((await mailTo(pendingService, bob.email, 'registration_taken')).link, undefined)
    await service.sql('delete from jobs')
    const countExportedJobs = async () => (await browser.get('/v1/me/export')).body.jobs.length
    const before = await countExportedJobs()
    const added: number[] = []
    for (const email of [bob.email, newUser().email]) {
      // The jobs are put off, as if the mail server were slow.
      await service.sql(`create function hold () returns trigger language plpgsql as $$ begin
        new.run_at := now() + interval '1 hour';
        return new;
      end $$`)
      await service.sql('create trigger hold before insert on jobs for each row execute function hold()')
      t.equal((await requestChange(user, email)).status, 202)
      added.push(await countExportedJobs() - before)
      await service.sql('drop trigger hold on jobs')
      await service.sql('drop function hold')
      await service.sql('delete from jobs')
    }
    t.strictSame(added, [2, 2], 'the export does not reveal it either')
  })
  await t.test('takes effect when the link to the new address is used', async t => {
    const ada = await registerMailedUser(service)
    const { email } = newUser()
    const reset = await requestLink(service, 'password_reset', ada.email)
    const token = await changeLink(ada, email)
    t.equal((await ada.browser.get('/v1/me')).body.email, ada.email, 'the request alone changes nothing')
    const uses = await raceLink(service, 'email_verification', { token, password: ada.password })
    t.strictSame(uses, oneWinner(204))
    t.match((await ada.browser.get('/v1/me')).body, { email, email_verified: true })
    t.equal(await signInStatus(service, email, ada.password), 200)
    t.equal(await signInStatus(service, ada.email, ada.password), 401)
    t.equal((await resetPassword(service, reset)).status, 410, 'a link to the old address')
  })
  await t.test('is undone by the link to the old address', async t => {
    const ada = await registerMailedUser(service)
    const { email } = newUser()
    const undoToken = await changeAddress(ada, email)
    t.equal(await signInStatus(service, email, ada.password), 200)
    t.strictSame(await raceLink(service, 'email_verification', { token: undoToken }), oneWinner(204))
    t.equal((await ada.browser.get('/v1/me')).status, 401)
    // The person who changed the address knew the password, so that it no longer works.
    t.equal(await signInStatus(service, ada.email, ada.password), 401)
    t.equal(await signInStatus(service, email, ada.password), 401)
    const reset = await mailedToken(service, ada.email, 'password_reset')
    t.equal((await resetPassword(service, reset)).status, 204)
    t.match(await signIn(service, { email: ada.email, password: newPassword }), {
      status: 200, body: { user: { email: ada.email } }
    })
    const events = await service.sql<{ detail: object }>(
      `select detail from audit_events
      where type = 'user.email_changed' and user_id = $1 order by id`, [ada.id])
    t.strictSame(events.map(({ detail }) => detail), [{}, { undone: true }])
  })
  await t.test('ends every session with the reason email_change_undone if it is undone', async t => {
    const ada = await registerMailedUser(service)
    const undoToken = await changeAddress(ada, newUser().email)
    const endReasons = async () => (await service.sql<{ reason: string | null }>(
      'select end_reason as reason from sessions where user_id = $1', [ada.id])).map(({ reason }) => reason)
    t.equal(await signInStatus(service, ada.email, ada.password), 401, 'the old address no longer signs in')
    t.strictSame(await endReasons(), [null])
    t.equal(await useChangeLink(undoToken), 204)
    t.strictSame(await endReasons(), ['email_change_undone'])
  })
  await t.test('can be undone from the first address after later changes, then from no other', async t => {
    const ada = await registerMailedUser(service)
    const [second, third] = [newUser().email, newUser().email]
    const undoFirst = await changeAddress(ada, second)
    const undoSecond = await changeAddress(ada, third, second)
    await resetPassword(service, await requestLink(service, 'password_reset', third))
    t.equal(await useChangeLink(undoFirst), 204)
    t.equal(await useChangeLink(undoSecond), 410)
    t.equal(await signInStatus(service, ada.email, newPassword), 401)
    const magicLink = await requestLink(service, 'magic_link', ada.email)
    t.equal((await useMagicLink(service, magicLink)).status, 200)
  })
  await t.test('is refused after twenty that can be undone, and the first of them still can be', async t => {
    const ada = await registerMailedUser(service)
    const undoFirst = await changeAddress(ada, newUser().email)
    await service.sql(`
      insert into one_time_tokens (
        token_hash, purpose, user_id, email_version, password_version,
        email, canonical_email, created_at, expires_at
      )
      select
        sha256(i::text::bytea), purpose, user_id, email_version, password_version,
        i || '@catch-all.example', i || '@catch-all.example', now(), expires_at + interval '1 hour'
      from one_time_tokens, generate_series(1, 18) as i
      where user_id = $1 and purpose = 'email_undo'`, [ada.id])
    t.equal(await useChangeLink(await changeLink(ada, newUser().email), ada.password), 204)
    const linksOf = async () => await service.sql('select from one_time_tokens where user_id = $1', [ada.id])
    const before = await linksOf()
    const refused = await requestChange(ada, newUser().email)
    t.match(refused, { status: 429, body: { code: 'too_many_requests' } })
    t.ok(Number(refused.headers['retry-after']) > 6 * 86_400, 'until the oldest of them has expired')
    t.strictSame(await linksOf(), before, 'a refused request stores nothing')
    t.equal(await useChangeLink(undoFirst), 204)
    const magicLink = await requestLink(service, 'magic_link', ada.email)
    t.equal((await useMagicLink(service, magicLink)).status, 200)
  })
  await t.test('creates no link if the password is invalidated while it is verified', async t => {
    await service.sql('delete from login_throttles')
    const slow = await build(t, { ARGON2_MEMORY_KIB: '65536', ARGON2_TIME_COST: '6' }, { url: service.url })
    const thief = await registerMailedUser(slow, { isVerified: false })
    const token = await requestLink(slow, 'magic_link', thief.email)
    const request = requestChange(thief, newUser().email)
    // An attempt is counted before its password is hashed, and refunded if the password is correct. The lock
    // delays that refund until the magic link has invalidated the password.
    await waitUntil('the attempt is counted', async () =>
      (await service.sql('select from login_throttles')).length > 0)
    const db = connect({ url: service.url })
    t.teardown(() => db.end())
    await db.transaction(async tx => {
      await tx.query('select from login_throttles for update')
      t.equal((await useMagicLink(slow, token)).status, 200)
    })
    const { status, body } = await request
    // A slow machine holds the lock for longer than the request waits for it: 503.
    t.ok(body.code === 'invalid_credentials' ? status === 403 : status === 503, `${status} ${body.code}`)
    const links = await service.sql(
      "select from one_time_tokens where user_id = $1 and purpose = 'email_change'", [thief.id])
    t.strictSame(links, [])
  })
  await t.test('cannot be undone from an address that was never verified', async t => {
    const ada = await registerMailedUser(service, { isVerified: false })
    await useChangeLink(await changeLink(ada, newUser().email), ada.password)
    t.equal((await mailTo(service, ada.email, 'email_changed')).link, undefined)
  })
  await t.test('keeps the old address reserved while it can be undone', async t => {
    const ada = await registerMailedUser(service)
    const undoToken = await changeAddress(ada, newUser().email)
    t.match(await service.browser().post(registerPath, { ...newUser(), email: ada.email }), {
      status: 409, body: { code: 'email_taken' }
    })
    t.equal(await useChangeLink(undoToken), 204)
  })
  await t.test('keeps the old address reserved against registrations that race it', async t => {
    for (let round = 0; round < scale(10, 4); round++) {
      const ada = await registerMailedUser(service)
      const token = await changeLink(ada, newUser().email)
      const registrations = Array.from({ length: 6 }, async () => {
        await pause(Math.random() * 12)
        return (await repeatUnavailable(async () =>
          await service.browser().post(registerPath, { ...newUser(), email: ada.email }))).status
      })
      await pause(10)
      t.equal(await useChangeLink(token, ada.password), 204)
      t.strictSame(await Promise.all(registrations), Array(6).fill(409), `round ${round}`)
    }
  })
  await t.test('succeeds for one of two accounts that change to the same address', async t => {
    const { email } = newUser()
    const users = [await registerMailedUser(service), await registerMailedUser(service)]
    const links: Array<[token: string, password: string]> = []
    for (const user of users) links.push([await changeLink(user, email), user.password])
    const statuses = await Promise.all(links.map(async link => await useChangeLink(...link)))
    t.strictSame(statuses.sort(), [204, 409])
  })
  await t.test('is refused if the account of its address is being deleted, which succeeds', async t => {
    const [ada, bob] = [await registerMailedUser(service), newUser()]
    const token = await changeLink(ada, bob.email)
    const browser = service.browser()
    browser.accessToken = (await browser.post(registerPath, bob)).body.access_token
    await service.sql('create table held as select')
    await service.sql(`create function hold () returns trigger language plpgsql as $$ begin
      while exists (select from held) loop perform pg_sleep(0.001); end loop;
      return new;
    end $$`)
    await service.sql(`
      create trigger hold before update of canonical_email on users for each row execute function hold()`)
    const isWaiting = async (event: string) => (await service.sql(
      'select from pg_stat_activity where datname = current_database() and wait_event_type = $1', [event]
    )).length > 0
    const change = useChangeLink(token, ada.password)
    await waitUntil('the change holds the link', async () => await isWaiting('Timeout'))
    const deletion = browser.send('DELETE', '/v1/me', { password: bob.password })
    await waitUntil('the deletion waits for the link', async () => await isWaiting('Lock'))
    await service.sql('delete from held')
    t.strictSame([await change, (await deletion).status], [409, 204])
    await service.sql('drop trigger hold on users')
    await service.sql('drop table held')
  })
  await t.test('is confirmed by the password, a session or the registration of its account', async t => {
    const [ada, bob] = [await registerMailedUser(service), await registerMailedUser(service)]
    for (const method of ['password', 'session', 'bearer'] as const) {
      const { email } = newUser()
      const token = await changeLink(ada, email)
      const required = passwordRequired('session', 'password')
      t.match(await verifyEmail(service, { token }), required)
      t.match(await verifyEmail(service, { token, new_password: newPassword }), required)
      const otherAccount = await bob.browser.post(confirmPaths.email_verification, { token })
      t.match(otherAccount, required, 'a session of another account')
      t.match(await verifyEmail(service, { token, password: bob.password }), { status: 403 })
      const withNewPassword = { token, new_password: newPassword }
      t.match(await ada.browser.post(confirmPaths.email_verification, withNewPassword), { status: 400 })
      const bearer = service.browser()
      bearer.accessToken = ada.browser.accessToken
      const browser = { password: service.browser(), session: ada.browser, bearer }[method]
      const body = { token, ...method === 'password' && { password: ada.password } }
      t.equal((await browser.post(confirmPaths.email_verification, body)).status, 204, method)
      t.equal((await ada.browser.get('/v1/me')).body.email, email)
    }
    const { email, password } = newUser()
    const browser = service.browser()
    const registration = { email, password, refresh_token_delivery: 'body' }
    browser.accessToken = (await browser.post(registerPath, registration)).body.access_token
    const newEmail = newUser().email
    await requestChange({ browser, password }, newEmail)
    browser.accessToken = undefined
    const token = await mailedToken(service, newEmail, 'email_change')
    const { status } = await browser.post(confirmPaths.email_verification, { token })
    t.equal(status, 204, 'the registration')
  })
  await t.test('invalidates the link of an earlier request, also if both are made at once', async t => {
    const ada = await registerMailedUser(service)
    const first = await changeLink(ada, newUser().email)
    const second = await changeLink(ada, newUser().email)
    t.equal(await useChangeLink(first, ada.password), 410)
    t.equal(await useChangeLink(second, ada.password), 204)
    const emails = Array.from({ length: 5 }, () => newUser().email)
    await Promise.all(emails.map(async email => await requestChange(ada, email)))
    const links = await service.sql(
      "select from one_time_tokens where user_id = $1 and purpose = 'email_change'", [ada.id])
    t.equal(links.length, 1)
    const statuses = await Promise.all(emails.map(async email =>
      await useChangeLink(await mailedToken(service, email, 'email_change'), ada.password)))
    t.strictSame(statuses.sort(), [204, 410, 410, 410, 410])
  })
  await t.test('past the mail limit keeps a link to the same address valid, but no other', async t => {
    const [ada, bob] = [await registerMailedUser(service), await registerMailedUser(service)]
    const [email, limitedEmail] = [newUser().email, newUser().email]
    const tokens: string[] = []
    for (let i = 0; i < 5; i++) tokens.push(await changeLink(ada, email))
    for (let i = 0; i < 5; i++) await changeLink(bob, limitedEmail)
    t.equal((await requestChange(ada, email)).status, 202)
    const links = await service.sql(
      'select from one_time_tokens where user_id = $1 and email_version > 0', [ada.id])
    t.equal(links.length, 1, 'no link was added')
    t.equal(await useChangeLink(tokens[4] ?? '', ada.password), 204)
    const token = await changeLink(ada, newUser().email)
    t.equal((await requestChange(ada, limitedEmail)).status, 202)
    t.equal(await useChangeLink(token, ada.password), 410, 'the link to another address')
  })
  await t.test('notifies the old address of the request, without a link', async t => {
    const ada = await registerMailedUser(service)
    const { email } = newUser()
    await ada.browser.post(emailPath, { password: ada.password, email }, { 'accept-language': 'de' })
    await mailTo(service, email, 'email_change')
    t.match(await mailTo(service, ada.email, 'email_change_requested'), { link: undefined })
    await changeLink(ada, upperCased(ada.email))
    await requestLink(service, 'magic_link', ada.email)
    const notifications = mailsTo(service, ada.email).filter(kind => kind === 'email_change_requested')
    t.equal(notifications.length, 1, 'another spelling of the same address is not notified')
  })
  await t.test('becomes invalid when the password changes', async t => {
    const ada = await registerMailedUser(service)
    const token = await changeLink(ada, newUser().email)
    const change = { current_password: ada.password, new_password: newPassword }
    await ada.browser.post('/v1/me/password', change)
    t.equal(await useChangeLink(token, newPassword), 410)
  })
})

t.test('the owner is notified', async t => {
  const service = await build(t, { REFRESH_REPLAY_GRACE: '0s' })

  await t.test('of a sign-in from a device that is new to the account', async t => {
    const ada = await registerMailedUser(service)
    const credentials = { email: ada.email, password: ada.password }
    t.equal((await ada.browser.post(loginPath, credentials)).status, 200)
    const newDevice = service.browser()
    const userAgent = 'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0'
    for (let i = 0; i < 2; i++) await newDevice.post(loginPath, credentials, { 'user-agent': userAgent })
    await mailTo(service, ada.email, 'new_sign_in')
    await requestLink(service, 'magic_link', ada.email)
    t.strictSame(mailsTo(service, ada.email).filter(kind => kind === 'new_sign_in').length, 1)
  })
  await t.test('of the reuse of a superseded refresh token', async t => {
    const ada = await registerMailedUser(service)
    const stolen = new Map(ada.browser.jar)
    for (let i = 0; i < 2; i++) await ada.browser.post(refreshPath)
    const thief = service.browser()
    for (const [name, value] of stolen) thief.jar.set(name, value)
    t.equal((await thief.post(refreshPath)).status, 401)
    await mailTo(service, ada.email, 'session_replayed')
  })
  await t.test('of a new password', async () => {
    const ada = await registerMailedUser(service)
    const change = { current_password: ada.password, new_password: newPassword }
    await ada.browser.post('/v1/me/password', change)
    await mailTo(service, ada.email, 'password_changed')
  })
})

// A model of an account knows which of its links are valid after any sequence of events.
t.test('a link becomes invalid with what it was mailed for, in any order of events', async t => {
  const service = await build(t)
  const eventArbitrary = fc.oneof(
    ...kinds.map(kind => fc.constant({ type: 'request' as const, kind })),
    fc.record({ type: fc.constant('use' as const), index: fc.nat() }),
    fc.constant({ type: 'change password' as const }),
    fc.constant({ type: 'change address' as const })
  )
  interface Link { kind: TestedKind, to: string, token: string, isValid: boolean }
  const eventsArbitrary = fc.array(eventArbitrary, { minLength: 3, maxLength: 12 })
  await fc.assert(fc.asyncProperty(eventsArbitrary, async events => {
    const ada = await registerMailedUser(service, { isVerified: false })
    let { email, password } = ada
    let isVerified = false
    let hasPassword = true
    const links: Link[] = [{ kind: 'email_verification', to: email, token: ada.token, isValid: true }]
    const invalidate = (isConcerned: (link: Link) => boolean) => {
      for (const link of links) if (isConcerned(link)) link.isValid = false
    }
    const signInAgain = async () => {
      const browser = service.browser()
      const { body, status } = await browser.post(loginPath, { email, password })
      if (status !== 200) throw new Error(`a sign-in with the current password was answered ${status}`)
      browser.accessToken = body.access_token
      return browser
    }
    for (const event of events) {
      if (event.type === 'request') {
        const { kind } = event
        if (kind === 'email_verification' && isVerified) continue
        // No more than five mails of a kind are sent to an address.
        if (links.filter(link => link.kind === kind && link.to === email).length === 5) continue
        const token = await requestLink(service, kind, email)
        links.push({ kind, to: email, token, isValid: true })
      } else if (event.type === 'use') {
        const link = links[event.index % links.length]
        if (!link) continue
        const freshPassword = newUser().password
        const { status } = await useLink(service, link.kind, {
          token: link.token,
          ...link.kind === 'password_reset' && { new_password: freshPassword },
          ...link.kind === 'email_verification' && { password }
        })
        if ((status === 410) === link.isValid) {
          const expected = link.isValid ? 'valid' : 'invalid'
          throw new Error(`a link of ${link.kind} that should be ${expected} was answered ${status}`)
        }
        if (!link.isValid) continue
        if (link.kind === 'email_verification') {
          link.isValid = false
        } else {
          if (link.kind === 'password_reset') [password, hasPassword] = [freshPassword, true]
          else if (!isVerified) hasPassword = false
          invalidate(() => true)
        }
        isVerified = true
        invalidate(({ kind }) => kind === 'email_verification')
      } else if (hasPassword) {
        const browser = await signInAgain()
        if (event.type === 'change password') {
          const freshPassword = newUser().password
          const change = { current_password: password, new_password: freshPassword }
          await browser.post('/v1/me/password', change)
          password = freshPassword
        } else {
          const newEmail = newUser().email
          await browser.post(emailPath, { password, email: newEmail })
          const token = await mailedToken(service, newEmail, 'email_change')
          await browser.post(confirmPaths.email_verification, { token, password })
          ;[email, isVerified] = [newEmail, true]
        }
        invalidate(() => true)
      }
    }
  }), { numRuns: scale(25, 6) })
  t.pass('in every order that was tried')
})

t.test('random bytes belong to one token or id only', async t => {
  t.test('random bytes do not change while others are made', async t => {
    const bytes = random16()
    const before = Buffer.from(bytes)
    for (let count = 0; count < 2_500; count++) random16()
    t.ok(before.equals(bytes))
  })

  t.test('thousands of tokens and ids share no eight bytes', async t => {
    const owners = new Map<string, number>()
    let sharedCount = 0
    const claim = (bytes: Uint8Array, owner: number) => {
      for (let start = 0; start + 8 <= bytes.length; start++) {
        const window = Buffer.from(bytes.subarray(start, start + 8)).toString('latin1')
        if ((owners.get(window) ?? owner) !== owner) sharedCount++
        owners.set(window, owner)
      }
    }
    for (let owner = 0; owner < 12_000; owner += 2) {
      claim(Buffer.from(generateToken().slice('lkl_'.length), 'base64url'), owner)
      claim(random16(), owner + 1)
      // An extra id now and then shifts the refills, so that one also divides a token.
      if (owner % 14 === 0) newId()
    }
    t.equal(sharedCount, 0)
  })
})
