import { randomBytes, randomUUID } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import fc from 'fast-check'
import t from 'tap'
import { connect } from '../../src/database/database.ts'
import { generateToken } from '../../src/one-time-tokens/one-time-tokens.ts'
import { newId, random16 } from '../../src/crypto/random.ts'
import { mint, registrationSecrets } from '../../src/accounts/registration-token.ts'
import { setStatus } from '../../src/accounts/user-status.ts'
import { build, keyEncryptionKey, newUser, type Service } from '../support/app.ts'
import { mailsTo, mailTo } from '../support/inbox.ts'
import { waitUntil } from '../support/polling.ts'
import { scale } from '../support/soak.ts'

const register = '/v1/auth/register'
const login = '/v1/auth/login'
const ask = { email_verification: '/v1/auth/email-verification', password_reset: '/v1/auth/password-reset', magic_link: '/v1/auth/magic-link' }
const confirm = { email_verification: `${ask.email_verification}/confirm`, password_reset: `${ask.password_reset}/confirm`, magic_link: `${ask.magic_link}/confirm` }
const kinds = ['email_verification', 'password_reset', 'magic_link'] as const
const another = 'another phrase of my own'

/** Somebody with an account, signed in; their address is proved unless not. */
async function somebody (service: Service, { proved = true } = {}) {
  const { email, password } = newUser()
  const browser = service.browser()
  const { body, status } = await browser.post(register, { email, password })
  if (status !== 201) throw new Error(`registration: ${status}`)
  browser.accessToken = body.access_token
  const { token } = await mailTo(service, email, 'email_verification')
  if (proved) await browser.post(confirm.email_verification, { token })
  return { email, password, browser, id: String(body.user.id), token }
}
/** A link of a kind that was asked for. */
async function linkFor (service: Service, kind: typeof kinds[number], email: string) {
  const { status } = await service.browser().post(ask[kind], { email })
  if (status !== 202) throw new Error(`asking: ${status}`)
  return (await mailTo(service, email, kind)).token
}
/** The answer that asks for a proof. */
const asks = (methods: string[]) => ({ status: 409, body: { code: 'password_required', methods } })
const signIn = async (service: Service, email: string, password: string) => (await service.browser().post(login, { email, password })).status
/** The status of a request; one that waits too long for others is told to come back, and does so. */
async function answered (service: Service, url: string, body: object): Promise<number> {
  const { status, headers } = await service.browser().post(url, body)
  return status === 503 && headers['retry-after'] === '1' ? await answered(service, url, body) : status
}
/** The statuses of the same request, many times at once. */
const atOnce = async (service: Service, url: string, body: object) => (await Promise.all(Array.from({ length: 10 }, async () => await answered(service, url, body)))).sort()
const once = (status: number) => [status, ...Array(9).fill(410)]

t.test('asking for a link', async t => {
  const service = await build(t)
  const ada = await somebody(service, { proved: false })
  const gone = await somebody(service, { proved: false })
  await service.sql('update users set disabled_at = now() where id = $1', [gone.id])
  await service.sql('delete from jobs')

  await t.test('is answered alike for everybody, and mails only who has an account', async t => {
    for (const kind of kinds) {
      const nobody = newUser().email
      for (const email of [ada.email, ada.email.toUpperCase(), nobody, gone.email]) {
        const { status, body } = await service.browser().post(ask[kind], { email })
        t.strictSame([status, body], [202, { status: 'accepted' }], `${kind} ${email}`)
      }
      t.match(await mailTo(service, ada.email, kind), { link: new RegExp(`^http://localhost:3000/${kind.replaceAll('_', '-')}#token=lkl_[\\w-]{43}$`), language: 'en' })
      // It came in the order in which it was asked for: what was asked for before is done.
      await mailTo(service, ada.email, kind)
      t.strictSame([mailsTo(service, nobody), mailsTo(service, gone.email).filter(each => each !== 'email_verification')], [[], []])
    }
  })
  await t.test('needs an address', async t => {
    for (const kind of kinds) t.match(await service.browser().post(ask[kind], { email: 'nobody at all' }), { status: 400, body: { code: 'validation_failed', errors: [{ pointer: '/email' }] } })
  })
  await t.test('is heard in the language of the request, and else of the user', async t => {
    const email = newUser().email
    await service.browser().post(register, { ...newUser(), email }, { 'accept-language': 'de-AT, en;q=0.5' })
    t.equal((await mailTo(service, email, 'email_verification')).language, 'de')
    await linkFor(service, 'password_reset', email)
    await service.browser().post(ask.magic_link, { email }, { 'accept-language': 'fr, en;q=0.1' })
    t.equal((await mailTo(service, email, 'magic_link')).language, 'en')
    await service.browser().post(ask.magic_link, { email }, { 'accept-language': 'fr' })
    t.equal((await mailTo(service, email, 'magic_link')).language, 'de')
  })
  await t.test('leaves nothing in the database that is good as a link', async t => {
    const token = await linkFor(service, 'password_reset', ada.email)
    const dump = JSON.stringify(await service.sql('select one_time_tokens.*, jobs.* from one_time_tokens full join jobs on false'))
    t.notMatch(dump, token)
    t.match((await service.sql<{ hash: string }>("select encode(token_hash, 'hex') as hash from one_time_tokens"))[0]?.hash, /^[0-9a-f]{64}$/)
  })
  await t.test('does not write of a verified address that it could be verified', async t => {
    const { email } = await somebody(service)
    await service.browser().post(ask.email_verification, { email })
    await linkFor(service, 'magic_link', email)
    t.strictSame(mailsTo(service, email), ['email_verification', 'magic_link'])
  })
})

t.test('a link', async t => {
  const service = await build(t)

  await t.test('is used once, however many try', async t => {
    const ada = await somebody(service, { proved: false })
    t.strictSame(await atOnce(service, confirm.email_verification, { token: ada.token, password: ada.password }), once(204))
    t.strictSame(await atOnce(service, confirm.magic_link, { token: await linkFor(service, 'magic_link', ada.email) }), once(200))
    t.strictSame(await atOnce(service, confirm.password_reset, { token: await linkFor(service, 'password_reset', ada.email), new_password: another }), once(204))
    t.equal((await service.sql('select from audit_events where user_id = $1 and type in ($2, $3)', [ada.id, 'user.verified', 'user.password_reset'])).length, 2)
  })
  await t.test('is good for what it was made for alone', async t => {
    const { email, password, token: verification } = await somebody(service, { proved: false })
    const tokens = { email_verification: verification, password_reset: await linkFor(service, 'password_reset', email), magic_link: await linkFor(service, 'magic_link', email) }
    for (const kind of kinds) {
      for (const other of kinds.filter(each => each !== kind)) {
        t.match(await service.browser().post(confirm[other], { token: tokens[kind], ...other === 'password_reset' && { new_password: another } }), { status: 410, body: { code: 'link_expired' } }, `${kind} as ${other}`)
      }
    }
    t.equal((await service.browser().post(confirm.email_verification, { token: verification, password })).status, 204)
  })
  await t.test('is not good when it is old, unknown, of a disabled account, or garbage', async t => {
    const { email, id } = await somebody(service)
    const reset = async (token: string) => (await service.browser().post(confirm.password_reset, { token, new_password: another })).status
    const old = await linkFor(service, 'password_reset', email)
    await service.sql('update one_time_tokens set expires_at = now() where user_id = $1', [id])
    t.equal(await reset(old), 410)
    const disabled = await linkFor(service, 'password_reset', email)
    await service.sql('update users set disabled_at = now() where id = $1', [id])
    t.equal(await reset(disabled), 410)
    for (const token of ['lkl_', 'x', '\0', '💥'.repeat(50), `${disabled}=`, disabled.slice(4), disabled.toUpperCase()]) t.equal(await reset(token), 410, token)
    t.equal(await reset(''), 400)
    t.equal(await reset('x'.repeat(201)), 400)
  })
  await t.test('is cleared away when it is old', async t => {
    const { email } = await somebody(service)
    await linkFor(service, 'magic_link', email)
    const { purgeExpired } = await import('../../src/one-time-tokens/purge.ts')
    await service.sql("update one_time_tokens set expires_at = now() - interval '1 second'")
    while (await purgeExpired(service.app.db, 10) > 0);
    t.strictSame(await service.sql('select from one_time_tokens'), [])
  })
})

t.test('a password reset', async t => {
  const service = await build(t)

  await t.test('sets the password, ends every session and every other link, and signs nobody in', async t => {
    const ada = await somebody(service)
    const elsewhere = service.browser()
    await elsewhere.post(login, ada)
    const [token, second, magic] = [await linkFor(service, 'password_reset', ada.email), await linkFor(service, 'password_reset', ada.email), await linkFor(service, 'magic_link', ada.email)]
    const answer = await service.browser().post(confirm.password_reset, { token, new_password: another })
    t.strictSame([answer.status, answer.text, answer.cookies], [204, '', []])
    t.equal((await ada.browser.get('/v1/me')).status, 401, 'the access token')
    for (const browser of [ada.browser, elsewhere]) t.equal((await browser.post('/v1/auth/refresh')).status, 401, 'the refresh token')
    t.strictSame([await signIn(service, ada.email, ada.password), await signIn(service, ada.email, another)], [401, 200])
    t.equal((await service.browser().post(confirm.password_reset, { token: second, new_password: another })).status, 410)
    t.equal((await service.browser().post(confirm.magic_link, { token: magic })).status, 410)
    await mailTo(service, ada.email, 'password_changed')
    const [event] = await service.sql<{ actor_id: string, ip: string }>("select actor_id, ip from audit_events where user_id = $1 and type = 'user.password_reset'", [ada.id])
    t.match(event, { actor_id: ada.id, ip: '127.0.0.1' })
  })
  await t.test('with a password that is refused leaves the link as it was', async t => {
    const ada = await somebody(service)
    const token = await linkFor(service, 'password_reset', ada.email)
    t.match(await service.browser().post(confirm.password_reset, { token, new_password: 'password1' }), { status: 422, body: { reasons: ['too_common'] } })
    t.match(await service.browser().post(confirm.password_reset, { token, new_password: `my ${ada.email}` }), { status: 422, body: { reasons: ['contains_email'] } })
    t.equal((await service.browser().post(confirm.password_reset, { token, new_password: another })).status, 204)
  })
  await t.test('proves the address', async t => {
    const ada = await somebody(service, { proved: false })
    await service.browser().post(confirm.password_reset, { token: await linkFor(service, 'password_reset', ada.email), new_password: another })
    const { body } = await service.browser().post(login, { email: ada.email, password: another })
    t.equal(body.user.email_verified, true)
    t.equal((await service.browser().post(confirm.email_verification, { token: ada.token })).status, 410)
  })
  await t.test('pardons the failures before it', async t => {
    const strict = await build(t, { LOGIN_RATE_LIMIT: '2/15m' }, { url: service.url })
    const ada = await somebody(strict)
    for (let i = 0; i < 2; i++) await signIn(strict, ada.email, 'wrong')
    t.equal(await signIn(strict, ada.email, ada.password), 429)
    await strict.browser().post(confirm.password_reset, { token: await linkFor(strict, 'password_reset', ada.email), new_password: another })
    t.equal(await signIn(strict, ada.email, another), 200)
  })
  await t.test('beside a sign-in with the old password leaves no session of it', async t => {
    for (let round = 0; round < scale(10, 4); round++) {
      const ada = await somebody(service)
      const token = await linkFor(service, 'password_reset', ada.email)
      const thief = service.browser()
      await Promise.all([thief.post(login, ada), service.browser().post(confirm.password_reset, { token, new_password: another })])
      t.equal((await thief.post('/v1/auth/refresh')).status, 401)
    }
  })
})

t.test('a magic link', async t => {
  const service = await build(t)

  await t.test('signs in', async t => {
    const ada = await somebody(service)
    const browser = service.browser()
    const { status, body, cookies } = await browser.post(confirm.magic_link, { token: await linkFor(service, 'magic_link', ada.email), remember: true })
    t.match([status, body], [200, { token_type: 'Bearer', user: { id: ada.id, email: ada.email, email_verified: true } }])
    t.match(cookies.join(), /refresh_token=lkr_[^;]+;.*Max-Age/)
    t.equal((await browser.post('/v1/auth/refresh')).status, 200)
    t.strictSame([await signIn(service, ada.email, ada.password), (await ada.browser.get('/v1/me')).status], [200, 200], 'what was the owner\'s stays')
    const { methods } = (await ada.browser.get('/v1/me/sessions')).body.items.find(({ id }: { id: string }) => id === body.session_id)
    t.strictSame(methods, ['otp'])
  })
  await t.test('makes a password void that was set before anybody had proved the address', async t => {
    const thief = await somebody(service, { proved: false })
    const owner = service.browser()
    const { body } = await owner.post(confirm.magic_link, { token: await linkFor(service, 'magic_link', thief.email) })
    t.match(body.user, { id: thief.id, email_verified: true })
    t.equal(await signIn(service, thief.email, thief.password), 401)
    t.equal((await thief.browser.get('/v1/me')).status, 401)
    t.equal((await thief.browser.post('/v1/auth/refresh')).status, 401)
    t.equal((await owner.post('/v1/auth/refresh')).status, 200)
  })
  await t.test('opens no more sessions than a user may have', async t => {
    const few = await build(t, { MAX_SESSIONS_PER_USER: '2' })
    const ada = await somebody(few)
    for (let i = 0; i < 3; i++) await few.browser().post(confirm.magic_link, { token: await linkFor(few, 'magic_link', ada.email) })
    t.equal((await few.sql('select from sessions where user_id = $1 and ended_at is null', [ada.id])).length, 2)
  })
})

t.test('where addresses must be proved', async t => {
  const service = await build(t, { REQUIRE_EMAIL_VERIFICATION: 'true' })
  const apply = async (body: object) => await service.browser().post(register, body)

  await t.test('a link makes the account that it was mailed for', async t => {
    const ada = { ...newUser(), name: 'Ada', username: 'ada.l' }
    const { status, body, cookies } = await apply(ada)
    t.strictSame([status, body, cookies.length], [202, { status: 'verification_required' }, 1])
    const { token } = await mailTo(service, ada.email, 'email_verification')
    t.match(await service.browser().post(login, { username: ada.username, password: ada.password }), { status: 403, body: { code: 'email_not_verified' } })
    t.match(await service.browser().post(login, { email: ada.email, password: ada.password }), { status: 403, body: { code: 'email_not_verified' } })
    t.match(await service.browser().post(login, { email: ada.email, password: 'wrong' }), { status: 401, body: { code: 'invalid_credentials' } })
    t.strictSame(await atOnce(service, confirm.email_verification, { token, password: ada.password }), once(204))
    t.match(await service.browser().post(login, { email: ada.email, password: ada.password }), { status: 200, body: { user: { email: ada.email, name: 'Ada', username: 'ada.l', email_verified: true } } })
    t.strictSame((await service.sql<{ type: string }>("select type from audit_events where type like 'user.%' order by id")).map(({ type }) => type), ['user.registered', 'user.verified'])
  })
  await t.test('of several that want an address, the one whose link is used has it, and the others never', async t => {
    const { email } = newUser()
    const applicants = Array.from({ length: 4 }, () => ({ email, password: newUser().password }))
    const links: Array<{ token: string, password: string }> = []
    for (const each of applicants) {
      await apply(each)
      links.push({ token: (await mailTo(service, email, 'email_verification')).token, password: each.password })
    }
    const statuses = await Promise.all(links.map(async link => (await service.browser().post(confirm.email_verification, link)).status))
    t.strictSame([...statuses].sort(), [204, 410, 410, 410])
    const signedIn = await Promise.all(applicants.map(async ({ password }) => await signIn(service, email, password)))
    t.strictSame(signedIn, statuses.map(status => status === 204 ? 200 : 401))
  })
  await t.test('a taken address is answered like a new one, and its owner is told', async t => {
    const ada = newUser()
    await apply(ada)
    await service.browser().post(confirm.email_verification, { token: (await mailTo(service, ada.email, 'email_verification')).token, password: ada.password })
    const { status, body } = await apply({ ...newUser(), email: ada.email })
    t.strictSame([status, body], [202, { status: 'verification_required' }])
    await mailTo(service, ada.email, 'registration_taken')
    t.equal(await signIn(service, ada.email, ada.password), 200)
  })
  await t.test('nobody learns by signing in whether an address that they registered was taken', async t => {
    const ada = newUser()
    await apply(ada)
    await service.browser().post(confirm.email_verification, { token: (await mailTo(service, ada.email, 'email_verification')).token, password: ada.password })
    const limited = await build(t, { REQUIRE_EMAIL_VERIFICATION: 'true', LOGIN_RATE_LIMIT: '3/15m' }, { url: service.url })
    const told = await Promise.all([ada.email, newUser().email].map(async email => {
      await limited.browser().post(register, { email, password: another })
      const statuses: number[] = []
      for (const password of ['wrong', another, another, another]) statuses.push(await signIn(limited, email, password))
      return statuses
    }))
    t.strictSame(told, [[401, 403, 403, 429], [401, 403, 403, 429]])
  })
  await t.test('of who registers an address and who changes to it, the one whose link is used first has it for good', async t => {
    const [ada, wanted] = [newUser(), newUser()]
    await apply(ada)
    await service.browser().post(confirm.email_verification, { token: (await mailTo(service, ada.email, 'email_verification')).token, password: ada.password })
    await apply(wanted)
    const { token } = await mailTo(service, wanted.email, 'email_verification')
    const browser = service.browser()
    browser.accessToken = (await browser.post(login, ada)).body.access_token
    for (const to of [wanted.email, newUser().email]) {
      t.equal((await browser.post('/v1/me/email', { password: ada.password, email: to })).status, 202)
      t.equal((await browser.post(confirm.email_verification, { token: (await mailTo(service, to, 'email_change')).token })).status, 204)
      t.equal((await service.browser().post(confirm.email_verification, { token, password: wanted.password })).status, 410)
    }
  })
  await t.test('another link can be asked for', async t => {
    const ada = newUser()
    await apply(ada)
    const first = (await mailTo(service, ada.email, 'email_verification')).token
    const second = await linkFor(service, 'email_verification', ada.email)
    t.equal((await service.browser().post(confirm.email_verification, { token: second, password: ada.password })).status, 204)
    t.equal((await service.browser().post(confirm.email_verification, { token: first, password: ada.password })).status, 410)
    t.equal(await signIn(service, ada.email, ada.password), 200)
  })
  await t.test('a username goes to who comes first, and an account is made without', async t => {
    const [first, second] = [{ ...newUser(), username: 'both' }, { ...newUser(), username: 'both' }]
    await apply(first)
    await apply(second)
    for (const { email, password } of [first, second]) t.equal((await service.browser().post(confirm.email_verification, { token: (await mailTo(service, email, 'email_verification')).token, password })).status, 204)
    t.match((await service.browser().post(login, second)).status, 400)
    t.match(await service.browser().post(login, { email: second.email, password: second.password }), { status: 200, body: { user: { username: null } } })
    t.match(await apply({ ...newUser(), username: 'both' }), { status: 409, body: { code: 'username_taken' } })
  })
  await t.test('an account from before is left to whoever proves its address, with the password of their own registration', async t => {
    for (const proof of ['cookie', 'password', 'new_password'] as const) {
      const squatter = await squat()
      const owner = service.browser()
      await owner.post(register, { email: squatter.email, password: another, name: 'Second' })
      const { token } = await mailTo(service, squatter.email, 'email_verification')
      const fresh = newUser().password
      const proofs = { cookie: {}, password: { password: another }, new_password: { new_password: fresh } }
      t.match(await service.browser().post(confirm.email_verification, { token }), asks(['session', 'password', 'new_password']))
      const caller = proof === 'cookie' ? owner : service.browser()
      t.equal((await caller.post(confirm.email_verification, { token, ...proofs[proof] })).status, 204, proof)
      t.equal((await squatter.browser.post('/v1/auth/refresh')).status, 401)
      const password = proof === 'new_password' ? fresh : another
      for (const former of [squatter.password, another, fresh].filter(each => each !== password)) {
        t.equal(await signIn(service, squatter.email, former), 401)
      }
      t.match(await service.browser().post(login, { email: squatter.email, password }), {
        status: 200, body: { user: { id: squatter.id, name: 'First', email_verified: true, roles: ['user', 'admin'] } }
      })
    }
  })
  await t.test('an account from before stays as it is for whoever is signed in to it', async t => {
    const owner = await squat()
    const stranger = { email: owner.email, password: newUser().password }
    await apply(stranger)
    const { token } = await mailTo(service, owner.email, 'email_verification')
    t.equal((await owner.browser.post(confirm.email_verification, { token })).status, 204)
    t.strictSame([await signIn(service, owner.email, stranger.password), await signIn(service, owner.email, owner.password)], [401, 200])
    t.equal((await owner.browser.post('/v1/auth/refresh')).status, 200)
  })
  await t.test('a link that is asked for, for an account from before, takes the password of that account or a new one', async t => {
    const [first, second] = [await squat(), await squat()]
    for (const { email } of [first, second]) {
      await apply({ email, password: another })
      await mailTo(service, email, 'email_verification')
    }
    const tokenOf = async (email: string) => await linkFor(service, 'email_verification', email)
    const wrong = { token: await tokenOf(first.email), password: another }
    t.match(await service.browser().post(confirm.email_verification, wrong), { status: 403, body: { code: 'invalid_credentials' } })
    t.equal((await service.browser().post(confirm.email_verification, { ...wrong, password: first.password })).status, 204)
    t.strictSame([await signIn(service, first.email, first.password), await signIn(service, first.email, another)], [200, 401])
    const fresh = newUser().password
    const link = { token: await tokenOf(second.email), new_password: fresh }
    t.equal((await service.browser().post(confirm.email_verification, link)).status, 204)
    t.strictSame(await Promise.all([second.password, another, fresh].map(async each => await signIn(service, second.email, each))), [401, 401, 200])
    t.equal((await second.browser.post('/v1/auth/refresh')).status, 401)
  })
  await t.test('nor does a change to the address that an account has make it the one of who set its password', async t => {
    const squatter = await squat()
    squatter.browser.accessToken = (await squatter.browser.post('/v1/auth/refresh')).body.access_token
    await apply({ email: squatter.email, password: another })
    const upper = squatter.email.toUpperCase().replace('EXAMPLE.COM', 'example.com')
    t.equal((await squatter.browser.post('/v1/me/email', { password: squatter.password, email: upper })).status, 202)
    const { token } = await mailTo(service, upper, 'email_change')
    t.match(await service.browser().post(confirm.email_verification, { token, new_password: another }), asks(['session', 'password']))
    const [row] = await service.sql<{ verified: boolean }>('select email_verified_at is not null as verified from users where id = $1', [squatter.id])
    t.strictSame(row, { verified: false })
  })
  /** An account from before addresses had to be verified, of which nobody can tell who made it; with roles, and signed in. */
  async function squat () {
    const { email, password } = newUser()
    await apply({ email, password, name: 'First' })
    const { token } = await mailTo(service, email, 'email_verification')
    await service.browser().post(confirm.email_verification, { token, password })
    const browser = service.browser()
    const { body: { user } } = await browser.post(login, { email, password })
    await service.sql("update users set email_verified_at = null, roles = '{user,admin}' where id = $1", [user.id])
    return { email, password, browser, id: String(user.id) }
  }
})

t.test('confirming an address', async t => {
  const service = await build(t)
  const secretive = await build(t, { REQUIRE_EMAIL_VERIFICATION: 'true' })
  const newcomer = async (at: Service, more: object = {}) => {
    const { email, password } = newUser()
    const browser = at.browser()
    const { body, cookies } = await browser.post(register, { email, password, ...more })
    const { token } = await mailTo(at, email, 'email_verification')
    return { email, password, browser, body, cookies, token }
  }
  const state = async (at: Service, email: string) => (await at.sql<{ verified: boolean }>('select email_verified_at is not null as verified from users where email = $1', [email]))[0]?.verified
  const cookieName = 'registration_3000'
  const withCookie = async (at: Service, token: string, cookie: string, headers: Record<string, string> = {}) =>
    await at.browser().post(confirm.email_verification, { token }, { cookie, ...headers })

  await t.test('takes the cookie of the registration, which says nothing and lives as long as the link', async t => {
    for (const [at, delivery] of [[service, 'cookie'], [service, 'body'], [secretive, 'cookie'], [secretive, 'body']] as const) {
      const { browser, cookies, token, body, email } = await newcomer(at, { refresh_token_delivery: delivery })
      const [line = ''] = cookies.filter(cookie => cookie.startsWith(cookieName))
      t.match(line, /^registration_3000=[\w-]{66}; Max-Age=86400; Path=\/; HttpOnly; SameSite=Strict$/)
      if (body.access_token !== undefined) await at.sql('delete from refresh_tokens')
      const answer = await browser.post(confirm.email_verification, { token })
      t.match([answer.status, answer.cookies.join()], [204, /^registration_3000=; Max-Age=0;/])
      t.equal(await state(at, email), true)
    }
    const secure = await build(t, { ISSUER_URL: 'https://auth.example.com' })
    const { cookies, token } = await newcomer(secure)
    const [line = ''] = cookies.filter(cookie => cookie.startsWith('__Host-registration'))
    t.match(line, /^__Host-registration=[\w-]{66}; Max-Age=86400; Path=\/; HttpOnly; Secure; SameSite=Strict$/)
    t.equal((await withCookie(secure, token, line.split(';')[0] ?? '')).status, 204)
  })
  await t.test('takes a session of the account: its refresh cookie or its access token', async t => {
    const ada = await newcomer(service)
    ada.browser.jar.delete(cookieName)
    const { browser: stranger } = await newcomer(service)
    stranger.jar.delete(cookieName)
    t.match(await stranger.post(confirm.email_verification, { token: ada.token }), asks(['session', 'password', 'new_password']), 'of another account')
    for (let i = 0; i < 2; i++) await stranger.post('/v1/auth/refresh')
    t.equal((await ada.browser.post(confirm.email_verification, { token: ada.token })).status, 204, 'the cookie')
    t.equal((await ada.browser.post('/v1/auth/refresh')).status, 200, 'which is as good as before')
    const bob = await newcomer(service)
    const other = service.browser()
    other.accessToken = bob.body.access_token
    await other.post('/v1/auth/logout')
    t.equal((await other.post(confirm.email_verification, { token: bob.token })).status, 409, 'a session that has ended')
    const again = service.browser()
    again.accessToken = (await service.browser().post(login, { email: bob.email, password: bob.password })).body.access_token
    t.equal((await again.post(confirm.email_verification, { token: bob.token })).status, 204, 'the access token')
  })
  await t.test('takes the password, and a wrong one counts like a failed sign-in', async t => {
    for (const required of ['false', 'true']) {
      const strict = await build(t, { LOGIN_RATE_LIMIT: '3/15m', REQUIRE_EMAIL_VERIFICATION: required }, { url: required === 'true' ? secretive.url : service.url })
      const [ada, bob] = [await newcomer(strict), await newcomer(strict)]
      const give = async (token: string, password: string) => await strict.browser().post(confirm.email_verification, { token, password })
      t.equal((await give(bob.token, bob.password)).status, 204)
      t.match(await give(ada.token, 'wrong'), { status: 403, body: { code: 'invalid_credentials', methods: /password,new_password/ } })
      t.equal(await signIn(strict, ada.email, 'wrong'), 401)
      t.equal((await give(ada.token, 'wrong')).status, 403)
      t.match(await give(ada.token, ada.password), { status: 429, headers: { 'retry-after': /^\d+$/ } })
      t.equal(await signIn(strict, ada.email, ada.password), 429, 'they are counted together')
      t.equal((await ada.browser.post(confirm.email_verification, { token: ada.token })).status, 204, 'the link stays good, and the cookie too')
    }
  })
  await t.test('without a proof says what would do, and changes nothing; a new password replaces what was before', async t => {
    const methods = new Map([[service, ['session', 'password', 'new_password']], [secretive, ['password', 'new_password']]])
    for (const [at, expected] of methods) {
      const { email, password, token } = await newcomer(at)
      const others = at === service ? [await linkFor(at, 'magic_link', email), await linkFor(at, 'email_verification', email)] : []
      t.match(await at.browser().post(confirm.email_verification, { token }), asks(expected))
      t.match(await at.browser().post(confirm.email_verification, { token, new_password: 'password1' }), { status: 422, body: { code: 'password_rejected', reasons: ['too_common'] } })
      t.match(await at.browser().post(confirm.email_verification, { token, new_password: `my ${email}` }), { status: 422, body: { reasons: ['contains_email'] } })
      t.not(await state(at, email), true)
      t.strictSame(await atOnce(at, confirm.email_verification, { token, new_password: another }), once(204))
      t.strictSame([await signIn(at, email, password), await signIn(at, email, another)], [401, 200])
      for (const each of others) t.equal((await at.browser().post(confirm.magic_link, { token: each })).status, 410)
      t.strictSame(await at.sql('select from one_time_tokens join users on users.id = user_id where users.email = $1', [email]), [])
    }
  })
  await t.test('takes a new password beside no other proof', async t => {
    for (const at of [service, secretive]) {
      const { browser, email, password, token } = await newcomer(at)
      const beside = { status: 400, body: { code: 'validation_failed', errors: [{ pointer: '/new_password' }] } }
      t.match(await browser.post(confirm.email_verification, { token, new_password: another }), beside, 'the cookie')
      browser.jar.delete(cookieName)
      if (at === service) t.match(await browser.post(confirm.email_verification, { token, new_password: another }), beside, 'the session')
      t.match(await at.browser().post(confirm.email_verification, { token, password, new_password: another }), beside, 'the password')
      t.not(await state(at, email), true)
      t.equal((await at.browser().post(confirm.email_verification, { token, password })).status, 204)
    }
  })
  await t.test('takes no cookie that is forged, cut, old, of somebody else or of another service, and no two', async t => {
    for (const at of [service, secretive]) {
      const [ada, eve] = [await newcomer(at), await newcomer(at)]
      const cookieOf = ({ browser }: typeof ada) => browser.jar.get(cookieName) ?? ''
      const cookie = cookieOf(ada)
      const flipped = Buffer.from(cookie, 'base64url').map((byte, index) => index === 48 ? byte ^ 1 : byte)
      const bad = [cookieOf(eve), cookie.slice(0, -1), cookie.slice(2), `${cookie}A`, '', 'x', Buffer.from(flipped).toString('base64url'), mint(randomBytes(32), randomUUID())]
      for (const value of bad) t.equal((await withCookie(at, ada.token, `${cookieName}=${value}`)).status, 409, value)
      t.equal((await withCookie(at, ada.token, `${cookieName}=${cookie}; ${cookieName}=${cookieOf(eve)}`)).status, 409, 'two')
      t.equal((await withCookie(at, ada.token, `${cookieName}=${cookie}; ${cookieName}=forged`)).status, 204, 'of which one counts')
    }
    const { id } = (await service.browser().post(register, newUser())).body.user
    const [row] = await service.sql<{ email: string }>("update users set created_at = now() - interval '25 hours' where id = $1 returning email", [id])
    const [secret] = registrationSecrets([keyEncryptionKey])
    t.equal((await withCookie(service, await linkFor(service, 'email_verification', row?.email ?? ''), `${cookieName}=${mint(secret, id)}`)).status, 409, 'an old one')
    const ada = await newcomer(service)
    const cookie = `${cookieName}=${ada.browser.jar.get(cookieName)}`
    ada.browser.accessToken = ada.body.access_token
    await ada.browser.post('/v1/me/password', { current_password: ada.password, new_password: another })
    t.equal((await withCookie(service, await linkFor(service, 'email_verification', ada.email), cookie)).status, 409, 'of a password that was changed since')
  })
  await t.test('takes the cookie of any key-encryption key that is configured', async t => {
    const ada = await newcomer(secretive)
    const keys = [randomBytes(32), keyEncryptionKey].map(key => key.toString('base64')).join()
    const later = await build(t, { REQUIRE_EMAIL_VERIFICATION: 'true', KEY_ENCRYPTION_KEY: keys }, { url: secretive.url })
    t.equal((await withCookie(later, ada.token, `${cookieName}=${ada.browser.jar.get(cookieName)}`)).status, 204)
  })
  await t.test('takes no cookie from a foreign page', async t => {
    const ada = await newcomer(service)
    for (const name of [cookieName, 'refresh_token']) {
      const cookie = `${name}=${ada.browser.jar.get(name)}`
      for (const headers of [{ origin: 'https://evil.example' }, { 'sec-fetch-site': 'same-site' }]) {
        t.match(await withCookie(service, ada.token, cookie, headers), { status: 403, body: { code: 'cross_site_request' } }, name)
      }
    }
    t.equal((await withCookie(service, ada.token, `${cookieName}=${ada.browser.jar.get(cookieName)}`, { origin: 'http://localhost:3000' })).status, 204)
  })
  await t.test('happens once, whatever is shown at the same time, by whichever of the links of the address', async t => {
    for (const at of [service, secretive]) {
      const ada = await newcomer(at)
      const tokens = [ada.token, await linkFor(at, 'email_verification', ada.email)]
      const fresh = Array.from({ length: 4 }, () => newUser().password)
      const bodies = tokens.flatMap(token => [{}, { password: ada.password }, ...fresh.slice(0, 2).map(each => ({ new_password: each }))].map(proof => ({ token, ...proof })))
      const statuses = await Promise.all(bodies.map(async body => {
        const caller = 'password' in body || 'new_password' in body ? at.browser() : ada.browser
        return (await caller.post(confirm.email_verification, body)).status
      }))
      t.strictSame(statuses.filter(status => status === 204).length, 1)
      t.strictSame(statuses.filter(status => ![204, 409, 410].includes(status)), [])
      const good = await Promise.all([ada.password, ...fresh].map(async each => await signIn(at, ada.email, each)))
      t.equal(good.filter(status => status === 200).length, 1, 'one password')
      t.equal((await at.sql("select from audit_events join users on users.id = user_id where type = 'user.verified' and email = $1", [ada.email])).length, 1)
    }
  })
  await t.test('beside a change of password, a reset, a disabling, a deletion or another registration has one outcome', async t => {
    for (const what of ['change', 'reset', 'disabling', 'deletion'] as const) {
      const ada = await newcomer(service)
      ada.browser.accessToken = ada.body.access_token
      const id = String(ada.body.user.id)
      const reset = await linkFor(service, 'password_reset', ada.email)
      const fresh = newUser().password
      const others = {
        change: async () => await ada.browser.post('/v1/me/password', { current_password: ada.password, new_password: another }),
        reset: async () => await service.browser().post(confirm.password_reset, { token: reset, new_password: another }),
        disabling: async () => { await service.app.db.transaction(async tx => await setStatus(tx, id, 'disabled', {})) },
        deletion: async () => await ada.browser.send('DELETE', '/v1/me', { password: ada.password })
      }
      const [confirmed, other] = await Promise.all([service.browser().post(confirm.email_verification, { token: ada.token, new_password: fresh }), others[what]()])
      t.ok([204, 410].includes(confirmed.status), `${what}: ${confirmed.status}`)
      const statuses = await Promise.all([ada.password, another, fresh].map(async each => await signIn(service, ada.email, each)))
      t.ok(statuses.filter(status => status === 200).length <= 1, `${what}: ${statuses.join()}`)
      if (confirmed.status === 204 && what === 'disabling') t.equal(statuses[2], 403)
      if (confirmed.status === 410 && other && other.status === 204) t.equal(statuses[2], 401)
      t.equal(statuses[0], what === 'disabling' && confirmed.status === 410 ? 403 : 401, 'the first password is good for nothing')
    }
    const ada = await newcomer(secretive)
    const [confirmed] = await Promise.all([ada.browser.post(confirm.email_verification, { token: ada.token }), secretive.browser().post(register, { email: ada.email, password: another })])
    t.equal(confirmed.status, 204)
    t.strictSame([await signIn(secretive, ada.email, ada.password), [401, 403].includes(await signIn(secretive, ada.email, another))], [200, true])
  })
})

t.test('a change of address', async t => {
  const service = await build(t)
  const change = async ({ browser, password }: Awaited<ReturnType<typeof somebody>>, email: string) => {
    const { status } = await browser.post('/v1/me/email', { password, email })
    if (status !== 202) return { status, token: '' }
    return { status, token: (await mailTo(service, email, 'email_change')).token }
  }
  const use = async (token: string, password?: string) => (await service.browser().post(confirm.email_verification, { token, ...password !== undefined && { password } })).status

  await t.test('needs the password, and an address that is nobody\'s', async t => {
    const ada = await somebody(service)
    const bob = await somebody(service)
    t.match(await ada.browser.post('/v1/me/email', { password: 'wrong', email: newUser().email }), { status: 403, body: { code: 'invalid_credentials' } })
    t.match(await ada.browser.post('/v1/me/email', { password: ada.password, email: bob.email }), { status: 409, body: { code: 'email_taken' } })
    t.match(await ada.browser.post('/v1/me/email', { password: ada.password, email: 'nobody at all' }), { status: 400 })
    t.match(await service.browser().post('/v1/me/email', { password: ada.password, email: newUser().email }), { status: 401 })
    const secretive = await build(t, { REQUIRE_EMAIL_VERIFICATION: 'true' }, { url: service.url })
    const there = secretive.browser()
    await there.post(login, { email: ada.email, password: ada.password })
    there.accessToken = (await there.post('/v1/auth/refresh')).body.access_token
    t.match(await there.post('/v1/me/email', { password: ada.password, email: bob.email }), { status: 202 })
    t.equal((await mailTo(secretive, bob.email, 'registration_taken')).link, undefined)
    await service.sql('delete from jobs')
    const held = (await there.get('/v1/me/export')).body.jobs.length
    const waiting = []
    for (const email of [bob.email, newUser().email]) {
      // Of a mail server that takes its time.
      await service.sql('create function hold () returns trigger language plpgsql as $$ begin new.run_at := now() + interval \'1 hour\'; return new; end $$')
      await service.sql('create trigger hold before insert on jobs for each row execute function hold()')
      t.equal((await there.post('/v1/me/email', { password: ada.password, email })).status, 202)
      waiting.push((await there.get('/v1/me/export')).body.jobs.length - held)
      await service.sql('drop trigger hold on jobs')
      await service.sql('drop function hold')
      await service.sql('delete from jobs')
    }
    t.strictSame(waiting, [2, 2], 'nor does the export tell')
  })
  await t.test('happens when the link to the new one is used, and is undone by the one to the old', async t => {
    const ada = await somebody(service)
    const email = newUser().email
    const reset = await linkFor(service, 'password_reset', ada.email)
    const { token } = await change(ada, email)
    t.equal((await ada.browser.get('/v1/me')).body.email, ada.email, 'nothing has changed yet')
    t.strictSame(await atOnce(service, confirm.email_verification, { token, password: ada.password }), once(204))
    t.match((await ada.browser.get('/v1/me')).body, { email, email_verified: true })
    t.strictSame([await signIn(service, email, ada.password), await signIn(service, ada.email, ada.password)], [200, 401])
    t.equal((await service.browser().post(confirm.password_reset, { token: reset, new_password: another })).status, 410, 'a link to the old address')

    const undo = await mailTo(service, ada.email, 'email_changed')
    t.strictSame(await atOnce(service, confirm.email_verification, { token: undo.token }), once(204))
    t.equal((await ada.browser.get('/v1/me')).status, 401)
    t.strictSame([await signIn(service, ada.email, ada.password), await signIn(service, email, ada.password)], [401, 401], 'whoever changed the address knew the password')
    const after = await mailTo(service, ada.email, 'password_reset')
    t.equal((await service.browser().post(confirm.password_reset, { token: after.token, new_password: another })).status, 204)
    t.match(await service.browser().post(login, { email: ada.email, password: another }), { status: 200, body: { user: { email: ada.email } } })
    t.strictSame((await service.sql<{ detail: object }>("select detail from audit_events where type = 'user.email_changed' and user_id = $1 order by id", [ada.id])).map(({ detail }) => detail), [{}, { undone: true }])
  })
  await t.test('can be undone from the first address, whatever was done since; not from a later one then', async t => {
    const ada = await somebody(service)
    const [second, third] = [newUser().email, newUser().email]
    await use((await change(ada, second)).token, ada.password)
    const back = (await mailTo(service, ada.email, 'email_changed')).token
    await use((await change(ada, third)).token, ada.password)
    const half = (await mailTo(service, second, 'email_changed')).token
    await service.browser().post(confirm.password_reset, { token: await linkFor(service, 'password_reset', third), new_password: another })
    t.equal(await use(back), 204)
    t.equal(await use(half), 410)
    t.equal(await signIn(service, ada.email, another), 401)
    t.equal((await service.browser().post(confirm.magic_link, { token: await linkFor(service, 'magic_link', ada.email) })).status, 200)
  })
  await t.test('is refused after twenty that can be undone, and the first of them can be undone all the same', async t => {
    const ada = await somebody(service)
    t.equal(await use((await change(ada, newUser().email)).token, ada.password), 204)
    const first = (await mailTo(service, ada.email, 'email_changed')).token
    await service.sql(`insert into one_time_tokens (token_hash, purpose, user_id, email_version, password_version, email, canonical_email, created_at, expires_at)
      select sha256(i::text::bytea), purpose, user_id, email_version, password_version, i || '@catch-all.example', i || '@catch-all.example', now(), expires_at + interval '1 hour'
      from one_time_tokens, generate_series(1, 18) as i where user_id = $1 and purpose = 'email_undo'`, [ada.id])
    const second = await change(ada, newUser().email)
    t.equal(await use(second.token, ada.password), 204)
    const before = await service.sql('select from one_time_tokens where user_id = $1', [ada.id])
    const refused = await ada.browser.post('/v1/me/email', { password: ada.password, email: newUser().email })
    t.match(refused, { status: 429, body: { code: 'too_many_requests' } })
    t.ok(Number(refused.headers['retry-after']) > 6 * 86_400, 'until the oldest of them is gone')
    t.strictSame(await service.sql('select from one_time_tokens where user_id = $1', [ada.id]), before, 'and leaves nothing behind')
    t.equal(await use(first), 204)
    t.equal((await service.browser().post(confirm.magic_link, { token: await linkFor(service, 'magic_link', ada.email) })).status, 200)
  })
  await t.test('that is asked for while the password dies comes to nothing', async t => {
    await service.sql('delete from login_throttles')
    const slow = await build(t, { ARGON2_MEMORY_KIB: '65536', ARGON2_TIME_COST: '6' }, { url: service.url })
    const thief = await somebody(slow, { proved: false })
    const token = await linkFor(slow, 'magic_link', thief.email)
    const asking = thief.browser.post('/v1/me/email', { password: thief.password, email: newUser().email })
    // The thief's password is being hashed, for what is counted before that is there; it is found right when that can be taken back.
    await waitUntil('it is counted', async () => (await service.sql('select from login_throttles')).length > 0)
    const db = connect({ url: service.url })
    t.teardown(() => db.end())
    await db.transaction(async tx => {
      await tx.query('select from login_throttles for update')
      t.equal((await slow.browser().post(confirm.magic_link, { token })).status, 200)
    })
    // Or it has waited for the counters for too long.
    const { status, body } = await asking
    t.ok(body.code === 'invalid_credentials' ? status === 403 : status === 503, `${status} ${body.code}`)
    t.strictSame(await service.sql("select from one_time_tokens where user_id = $1 and purpose = 'email_change'", [thief.id]), [])
  })
  await t.test('hands the account to nobody whose address was only typed', async t => {
    const ada = await somebody(service, { proved: false })
    await use((await change(ada, newUser().email)).token, ada.password)
    t.equal((await mailTo(service, ada.email, 'email_changed')).link, undefined)
  })
  await t.test('keeps the address for its undoing from those who have not proved it', async t => {
    const ada = await somebody(service)
    await use((await change(ada, newUser().email)).token, ada.password)
    t.match(await service.browser().post(register, { ...newUser(), email: ada.email }), { status: 409, body: { code: 'email_taken' } })
    t.equal(await use((await mailTo(service, ada.email, 'email_changed')).token), 204)
  })
  await t.test('keeps it also from who registers in the same moment', async t => {
    for (let round = 0; round < scale(10, 4); round++) {
      const ada = await somebody(service)
      const { token } = await change(ada, newUser().email)
      const squatting = Array.from({ length: 6 }, async () => { await pause(Math.random() * 12); return (await service.browser().post(register, { ...newUser(), email: ada.email })).status })
      await pause(10)
      t.equal(await use(token, ada.password), 204)
      t.strictSame(await Promise.all(squatting), Array(6).fill(409), `round ${round}`)
    }
  })
  await t.test('of two to one address succeeds for one', async t => {
    const email = newUser().email
    const both = [await somebody(service), await somebody(service)]
    const links: Array<[token: string, password: string]> = []
    for (const each of both) links.push([(await change(each, email)).token, each.password])
    t.strictSame((await Promise.all(links.map(async link => await use(...link)))).sort(), [204, 409])
  })
  await t.test('to the address of an account that is just leaving is refused, and keeps nobody from leaving', async t => {
    const [ada, bob] = [await somebody(service), newUser()]
    const { token } = await change(ada, bob.email)
    const leaver = service.browser()
    leaver.accessToken = (await leaver.post(register, bob)).body.access_token
    await service.sql('create table held as select')
    await service.sql(`create function hold () returns trigger language plpgsql as $$ begin
      while exists (select from held) loop perform pg_sleep(0.001); end loop;
      return new;
    end $$`)
    await service.sql('create trigger hold before update of canonical_email on users for each row execute function hold()')
    const waiting = async (event: string) => (await service.sql(
      'select from pg_stat_activity where datname = current_database() and wait_event_type = $1', [event])).length > 0
    const changing = use(token, ada.password)
    await waitUntil('the change holds the link', async () => await waiting('Timeout'))
    const leaving = leaver.send('DELETE', '/v1/me', { password: bob.password })
    await waitUntil('the deletion waits for the link', async () => await waiting('Lock'))
    await service.sql('delete from held')
    t.strictSame([await changing, (await leaving).status], [409, 204])
    await service.sql('drop trigger hold on users')
    await service.sql('drop table held')
  })
  await t.test('is confirmed by the account that asked: by its password, its session or its registration, and by no new password', async t => {
    const [ada, bob] = [await somebody(service), await somebody(service)]
    for (const proof of ['password', 'session', 'bearer'] as const) {
      const to = newUser().email
      const { token } = await change(ada, to)
      const needed = { status: 409, body: { code: 'password_required', methods: ['session', 'password'] } }
      t.match(await service.browser().post(confirm.email_verification, { token }), needed)
      t.match(await service.browser().post(confirm.email_verification, { token, new_password: another }), needed)
      t.match(await bob.browser.post(confirm.email_verification, { token }), needed, 'another account')
      t.match(await service.browser().post(confirm.email_verification, { token, password: bob.password }), { status: 403 })
      t.match(await ada.browser.post(confirm.email_verification, { token, new_password: another }), { status: 400 })
      const bearer = service.browser()
      bearer.accessToken = ada.browser.accessToken
      const caller = { password: service.browser(), session: ada.browser, bearer }[proof]
      t.equal((await caller.post(confirm.email_verification, { token, ...proof === 'password' && { password: ada.password } })).status, 204, proof)
      t.equal((await ada.browser.get('/v1/me')).body.email, to)
    }
    const { email, password } = newUser()
    const browser = service.browser()
    const { body } = await browser.post(register, { email, password, refresh_token_delivery: 'body' })
    browser.accessToken = body.access_token
    const to = newUser().email
    await browser.post('/v1/me/email', { password, email: to })
    browser.accessToken = undefined
    t.equal((await browser.post(confirm.email_verification, { token: (await mailTo(service, to, 'email_change')).token })).status, 204, 'the registration')
  })
  await t.test('that is asked for again voids the one before, also when both are asked for at once', async t => {
    const ada = await somebody(service)
    const first = (await change(ada, newUser().email)).token
    const { token } = await change(ada, newUser().email)
    t.strictSame([await use(first, ada.password), await use(token, ada.password)], [410, 204])
    const targets = Array.from({ length: 5 }, () => newUser().email)
    await Promise.all(targets.map(async email => await ada.browser.post('/v1/me/email', { password: ada.password, email })))
    t.equal((await service.sql("select from one_time_tokens where user_id = $1 and purpose = 'email_change'", [ada.id])).length, 1)
    const tokens = await Promise.all(targets.map(async email => (await mailTo(service, email, 'email_change')).token))
    t.strictSame((await Promise.all(tokens.map(async each => await use(each, ada.password)))).sort(), [204, 410, 410, 410, 410])
  })
  await t.test('for which no mail is sent, because there were too many, leaves a link to the same address good, and no other', async t => {
    const [ada, bob, to, crowded] = [await somebody(service), await somebody(service), newUser().email, newUser().email]
    const tokens: string[] = []
    for (let i = 0; i < 5; i++) tokens.push((await change(ada, to)).token)
    for (let i = 0; i < 5; i++) await change(bob, crowded)
    t.equal((await ada.browser.post('/v1/me/email', { password: ada.password, email: to })).status, 202)
    t.equal((await service.sql('select from one_time_tokens where user_id = $1', [ada.id])).length, 1, 'no new link')
    t.equal(await use(tokens[4] ?? '', ada.password), 204)
    const { token } = await change(ada, newUser().email)
    t.equal((await ada.browser.post('/v1/me/email', { password: ada.password, email: crowded })).status, 202)
    t.equal(await use(token, ada.password), 410, 'another address')
  })
  await t.test('is told to the old address when it is asked for, in the language of the request, without a link', async t => {
    const ada = await somebody(service)
    const to = newUser().email
    await ada.browser.post('/v1/me/email', { password: ada.password, email: to }, { 'accept-language': 'de' })
    await mailTo(service, to, 'email_change')
    t.match(await mailTo(service, ada.email, 'email_change_requested'), { link: undefined })
    await ada.browser.post('/v1/me/email', { password: ada.password, email: ada.email.toUpperCase().replace('EXAMPLE.COM', 'example.com') })
    await mailTo(service, ada.email.toUpperCase().replace('EXAMPLE.COM', 'example.com'), 'email_change')
    await linkFor(service, 'magic_link', ada.email)
    t.equal(mailsTo(service, ada.email).filter(kind => kind === 'email_change_requested').length, 1, 'not to the one that stays')
  })
  await t.test('dies with the password it was asked with', async t => {
    const ada = await somebody(service)
    const { token } = await change(ada, newUser().email)
    await ada.browser.post('/v1/me/password', { current_password: ada.password, new_password: another })
    t.equal(await use(token, another), 410)
  })
})

t.test('the owner is asked whether it was them', async t => {
  const service = await build(t, { REFRESH_REPLAY_GRACE: '0s' })

  await t.test('where somebody signs in on a device that is new to the account', async t => {
    const ada = await somebody(service)
    t.equal((await ada.browser.post(login, { email: ada.email, password: ada.password })).status, 200)
    const strange = service.browser()
    const agent = { 'user-agent': 'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0' }
    for (let i = 0; i < 2; i++) await strange.post(login, { email: ada.email, password: ada.password }, agent)
    await mailTo(service, ada.email, 'new_sign_in')
    await linkFor(service, 'magic_link', ada.email)
    t.strictSame(mailsTo(service, ada.email).filter(kind => kind === 'new_sign_in').length, 1)
  })
  await t.test('where a refresh token came back that had been replaced', async t => {
    const ada = await somebody(service)
    const stolen = new Map(ada.browser.jar)
    for (let i = 0; i < 2; i++) await ada.browser.post('/v1/auth/refresh')
    const thief = service.browser()
    for (const [name, value] of stolen) thief.jar.set(name, value)
    t.equal((await thief.post('/v1/auth/refresh')).status, 401)
    await mailTo(service, ada.email, 'session_replayed')
  })
  await t.test('and told of a new password', async () => {
    const ada = await somebody(service)
    await ada.browser.post('/v1/me/password', { current_password: ada.password, new_password: another })
    await mailTo(service, ada.email, 'password_changed')
  })
})

// What each link is good for depends on what came after it: a model knows which are good, whatever the order.
t.test('links die with what they were for, in any order of events', async t => {
  const service = await build(t)
  const step = fc.oneof(
    ...kinds.map(kind => fc.constant({ does: 'ask' as const, kind })),
    fc.record({ does: fc.constant('use' as const), which: fc.nat() }),
    fc.constant({ does: 'change password' as const }),
    fc.constant({ does: 'change address' as const })
  )
  await fc.assert(fc.asyncProperty(fc.array(step, { minLength: 3, maxLength: 12 }), async steps => {
    const ada = await somebody(service, { proved: false })
    const links: Array<{ kind: typeof kinds[number], to: string, token: string, good: boolean }> = [{ kind: 'email_verification', to: ada.email, token: ada.token, good: true }]
    let [email, password, proved] = [ada.email, ada.password, false]
    let hasPassword = true
    const die = (which: (link: typeof links[number]) => boolean) => { for (const link of links) if (which(link)) link.good = false }
    const anew = async () => {
      const browser = service.browser()
      const { body, status } = await browser.post(login, { email, password })
      if (status !== 200) throw new Error(`the password should be good: ${status}`)
      browser.accessToken = body.access_token
      return browser
    }
    for (const next of steps) {
      if (next.does === 'ask') {
        if (next.kind === 'email_verification' && proved) continue
        const to = email
        // No more are mailed at once.
        if (links.filter(link => link.kind === next.kind && link.to === to).length === 5) continue
        links.push({ kind: next.kind, to, token: await linkFor(service, next.kind, email), good: true })
      } else if (next.does === 'use') {
        const link = links[next.which % links.length]
        if (!link) continue
        const fresh = newUser().password
        const { status } = await service.browser().post(confirm[link.kind], { token: link.token, ...link.kind === 'password_reset' && { new_password: fresh }, ...link.kind === 'email_verification' && { password } })
        if ((status === 410) === link.good) throw new Error(`a link of ${link.kind} that should be ${link.good ? 'good' : 'dead'} was answered ${status}`)
        if (!link.good) continue
        if (link.kind === 'email_verification') {
          link.good = false
        } else {
          if (link.kind === 'password_reset') [password, hasPassword] = [fresh, true]
          else if (!proved) hasPassword = false
          die(() => true)
        }
        proved = true
        die(({ kind }) => kind === 'email_verification')
      } else if (hasPassword) {
        const browser = await anew()
        if (next.does === 'change password') {
          const fresh = newUser().password
          await browser.post('/v1/me/password', { current_password: password, new_password: fresh })
          password = fresh
        } else {
          const to = newUser().email
          await browser.post('/v1/me/email', { password, email: to })
          await browser.post(confirm.email_verification, { token: (await mailTo(service, to, 'email_change')).token, password })
          ;[email, proved] = [to, true]
        }
        die(() => true)
      }
    }
  }), { numRuns: scale(25, 6) })
  t.pass('in every order that was tried')
})

t.test('random bytes belong to one token or id alone', async t => {
  t.test('and stay as they are while others are made', async t => {
    const held = random16()
    const before = Buffer.from(held)
    for (let count = 0; count < 2_500; count++) random16()
    t.ok(before.equals(held))
  })

  t.test('so that thousands of tokens and ids share no half of them', async t => {
    const owners = new Map<string, number>()
    let shared = 0
    const take = (bytes: Uint8Array, owner: number) => {
      for (let start = 0; start + 8 <= bytes.length; start++) {
        const window = Buffer.from(bytes.subarray(start, start + 8)).toString('latin1')
        if ((owners.get(window) ?? owner) !== owner) shared++
        owners.set(window, owner)
      }
    }
    for (let owner = 0; owner < 12_000; owner += 2) {
      take(Buffer.from(generateToken().slice('lkl_'.length), 'base64url'), owner)
      take(random16(), owner + 1)
      // An odd one now and then, so that a refill also comes between the two halves of a token.
      if (owner % 14 === 0) newId()
    }
    t.equal(shared, 0)
  })
})
