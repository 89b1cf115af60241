import argon2 from 'argon2'
import { build, newUser } from '../support/app.ts'
import type { Browser } from '../support/client.ts'
import { deferred } from '../support/deferred.ts'
import { repeatUnavailable } from '../support/repetition.ts'
import { t } from '../support/test.ts'

const uuid7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/
const phrase = 'a phrase of my own'

const register = async (browser: Browser, body: object) => await browser.post('/v1/auth/register', body)
const signIn = async (browser: Browser, body: object) => await browser.post('/v1/auth/login', body)
const invalidCredentials = { status: 401, body: { code: 'invalid_credentials' } }
const invalidAt = (pointer: string) =>
  ({ status: 400, body: { code: 'validation_failed', errors: [{ pointer }] } })

t.test('a registration', async t => {
  const service = await build(t)

  t.test('creates an account and signs the user in', async t => {
    const registration = { email: 'Ada@Example.COM', password: phrase, name: 'Ada Lovelace', username: 'Ada' }
    const { status, body, headers } = await register(service.browser(), registration)
    t.equal(status, 201)
    const { user, ...tokens } = body
    t.match(user, {
      id: uuid7,
      email: 'Ada@example.com',
      username: 'ada',
      name: 'Ada Lovelace',
      roles: ['user'],
      email_verified: false
    })
    t.equal(new Date(user.created_at).toISOString(), user.created_at)
    t.match(tokens, {
      token_type: 'Bearer', expires_in: 900, refresh_token_expires_in: 604800, session_id: uuid7
    })
    t.equal(headers['cache-control'], 'no-store')
  })

  t.test('stores only an argon2id hash of the password', async t => {
    const { email, password } = newUser()
    await register(service.browser(), { email, password })
    const [row] = await service.sql<{ hash: string }>(
      'select password_hash as hash from users where email = $1', [email])
    const hash = row?.hash ?? ''
    t.match(hash, /^\$argon2id\$v=19\$m=1024,t=1,p=1\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$/)
    t.ok(await argon2.verify(hash, password))
    t.notOk(service.logs.some(line => JSON.stringify(line).includes(password)))
  })

  t.test('is refused if the address is taken in any spelling', async t => {
    await register(service.browser(), { email: 'taken@bücher.example', password: phrase })
    const spellings = [
      'taken@bücher.example', ' TAKEN@BÜCHER.EXAMPLE ', 'taken@xn--bcher-kva.example',
      'ｔａｋｅｎ@bücher.example', 'taken@bu\u0308cher.example'
    ]
    for (const email of spellings) {
      const answer = await register(service.browser(), { email, password: phrase })
      t.match(answer, { status: 409, body: { code: 'email_taken' }, cookies: [] }, email)
    }
    const withDot = { email: 'tak.en@bücher.example', password: phrase }
    t.equal((await register(service.browser(), withDot)).status, 201, 'a dot makes another address')
    const withPlus = { email: 'taken+1@bücher.example', password: phrase }
    t.equal((await register(service.browser(), withPlus)).status, 201, 'a plus sign makes another address')
  })

  t.test('is refused if the username is taken, and creates no account', async t => {
    await register(service.browser(), { ...newUser(), username: 'grace' })
    const second = newUser()
    t.match(await register(service.browser(), { ...second, username: 'GRACE' }), {
      status: 409, body: { code: 'username_taken' }
    })
    t.strictSame(await service.sql('select 1 from users where email = $1', [second.email]), [])
  })

  t.test('succeeds once if an address is registered many times at once', async t => {
    const { email, password } = newUser()
    const registrations = Array.from({ length: 20 }, async () =>
      await repeatUnavailable(async () => await register(service.browser(), { email, password })))
    const answers = await Promise.all(registrations)
    t.equal(answers.filter(({ status }) => status === 201).length, 1)
    t.equal(answers.filter(({ body }) => body.code === 'email_taken').length, 19)
    const [row] = await service.sql(`
      select count(distinct users.id)::int as users, count(sessions.id)::int as sessions
      from users left join sessions on sessions.user_id = users.id where email = $1`, [email])
    t.strictSame(row, { users: 1, sessions: 1 })
  })

  t.test('is refused for a malformed e-mail address', async t => {
    const malformed = [
      '', 'ada', 'ada@', '@example.com', 'ada@localhost', 'ada@example',
      'ada lovelace@example.com', 'ada@exa mple.com', 'ada@example..com',
      '.ada@example.com', 'ada.@example.com', 'a..da@example.com', '"ada"@example.com',
      'ada@[127.0.0.1]', 'ada@127.0.0.1', 'ada@example.com\u0000', 'ada\u0000@example.com',
      'ada@example.com\r\nBcc: eve@example.com', 'ada@-example.com', 'ada@example.com/x',
      'ada@example.com:80', 'ada<eve@example.com', `${'a'.repeat(65)}@example.com`,
      `ada@${'a.'.repeat(130)}com`, '\ud800@example.com'
    ]
    for (const email of malformed) {
      const answer = await register(service.browser(), { email, password: phrase })
      t.match(answer, invalidAt('/email'), JSON.stringify(email))
    }
  })

  t.test('is refused for a weak password, with every reason', async t => {
    const cases: Array<[string, object, string[]]> = [
      ['sh0rt!x', {}, ['too_short']],
      ['😀'.repeat(7), {}, ['too_short']],
      ['x'.repeat(257), {}, ['too_long']],
      ['PASSWORD1', {}, ['too_common']],
      ['1234', {}, ['too_short', 'too_common']],
      ['hello Margaret@Example.com', { email: 'margaret@example.com' }, ['contains_email']],
      ['xxMARGARETxx', { email: 'margaret@example.com' }, ['contains_email']],
      ['xxlovelacexx', { name: 'Lovelace' }, ['contains_name']],
      ['countess99', { username: 'countess' }, ['contains_name']],
      ['My LatchKey 7', {}, ['contains_service']]
    ]
    for (const [password, owner, reasons] of cases) {
      const answer = await register(service.browser(), { email: newUser().email, ...owner, password })
      t.match(answer, { status: 422, body: { code: 'password_rejected', reasons } }, password.slice(0, 30))
      t.equal(answer.body.reasons.length, reasons.length)
    }
  })

  t.test('accepts a long password in any script with any character, and never truncates it', async t => {
    const passwords = [
      'x'.repeat(256), '😀'.repeat(256), '  leading and trailing  ', 'пароль из слов',
      'nul \u0000 in the middle', 'a'.repeat(72) + 'the tail counts', 'p\u0301\ufb01 compatibility'
    ]
    for (const password of passwords) {
      const { email } = newUser()
      const status = async (given: string) =>
        (await signIn(service.browser(), { email, password: given })).status
      const registration = await register(service.browser(), { email, password })
      t.equal(registration.status, 201, password.slice(0, 30))
      t.equal(await status(password), 200)
      t.equal(await status(password.slice(0, -1)), 401)
      t.equal(await status(`${password} `), 401)
    }
  })

  t.test('makes no difference between composed and decomposed characters of a password', async t => {
    const { email } = newUser()
    await register(service.browser(), { email, password: 'Caf\u00e9 cr\u00e8me' })
    const decomposed = { email, password: 'Cafe\u0301 cre\u0300me' }
    t.equal((await signIn(service.browser(), decomposed)).status, 200)
    const lowerCase = { email, password: 'cafe\u0301 cre\u0300me' }
    t.equal((await signIn(service.browser(), lowerCase)).status, 401, 'the case counts')
  })

  t.test('is refused for a password that is empty, too long, malformed or not a string', async t => {
    const invalid = [
      '', 'x'.repeat(1025), 'half a pair \ud800 of surrogates',
      12345678, null, [phrase], { length: 20 }
    ]
    for (const password of invalid) {
      t.match(await register(service.browser(), { email: newUser().email, password }), invalidAt('/password'))
    }
  })

  t.test('is refused if it sets roles or another internal property', async t => {
    const { email, password } = newUser()
    for (const property of ['roles', 'email_verified', 'id', 'password_hash', '__proto__x']) {
      const answer = await register(service.browser(), { email, password, [property]: ['admin'] })
      t.match(answer, invalidAt(`/${property}`))
    }
    t.strictSame(await service.sql('select 1 from users where email = $1', [email]), [])
  })
})

t.test('a sign-in', async t => {
  const service = await build(t)
  const ada = newUser()
  await register(service.browser(), { ...ada, username: 'ada' })

  t.test('accepts the e-mail address or the username', async t => {
    const { email, password } = ada
    t.match(await signIn(service.browser(), ada), { status: 200, body: { user: { email } } })
    t.match(await signIn(service.browser(), { email: email.toUpperCase(), password }), { status: 200 })
    t.match(await signIn(service.browser(), { username: 'ADA', password }), { status: 200 })
    t.match(await signIn(service.browser(), { ...ada, username: 'ada' }), { status: 400 })
    t.match(await signIn(service.browser(), { password }), { status: 400 })
  })

  t.test('does not reveal whether an account exists', async t => {
    const known = await signIn(service.browser(), { email: ada.email, password: 'not the password' })
    const { instance: knownInstance, ...knownBody } = known.body
    const unknownLogins = [
      { email: 'nobody@example.com' }, { email: 'not an address' }, { email: '' }, { email: '\u0000' },
      { email: 'x'.repeat(320) }, { username: 'nobody' }, { username: '💥' }
    ]
    for (const login of unknownLogins) {
      const unknown = await signIn(service.browser(), { ...login, password: 'not the password' })
      t.equal(unknown.status, 401)
      const { instance: unknownInstance, ...unknownBody } = unknown.body
      t.not(unknownInstance, knownInstance)
      t.strictSame(unknownBody, knownBody)
      t.strictSame(Object.keys(unknown.headers), Object.keys(known.headers))
    }
    for (const password of ['x'.repeat(257), 'x'.repeat(1024), '\ud800', ' ']) {
      t.match(await signIn(service.browser(), { email: ada.email, password }), invalidCredentials)
    }
  })

  t.test('creates a new session each time', async t => {
    const first = await signIn(service.browser(), ada)
    const second = await signIn(service.browser(), ada)
    t.not(first.body.session_id, second.body.session_id)
    const [row] = await service.sql(`
      select
        host(ip) as ip, user_agent, methods, remembered, expires_at - created_at = '30 days' as lasts_a_month
      from sessions where id = $1`, [second.body.session_id])
    t.match(row, {
      ip: '127.0.0.1', user_agent: 'lightMyRequest', methods: ['pwd'], remembered: false, lasts_a_month: true
    })
  })

  t.test('delivers the refresh token in an HttpOnly cookie, or on request in the body', async t => {
    const inCookie = await signIn(service.browser(), ada)
    t.notOk('refresh_token' in inCookie.body)
    const refreshCookie = /^refresh_token_3000=lkr_[\w-]{108}; Path=\/; HttpOnly; SameSite=Strict$/
    const deviceCookie = /^device_3000=[\w-]+; Max-Age=15552000; Path=\/; HttpOnly; SameSite=Strict$/
    t.match(inCookie.cookies, [refreshCookie, deviceCookie])
    t.equal(inCookie.cookies.length, 2)
    const explicit = await signIn(service.browser(), { ...ada, refresh_token_delivery: 'cookie' })
    t.match(explicit.cookies, [/^refresh_token_3000=/, deviceCookie])
    const inBody = await signIn(service.browser(), { ...ada, refresh_token_delivery: 'body' })
    t.match(inBody.body.refresh_token, /^lkr_[\w-]{108}$/)
    t.match(inBody.cookies, [deviceCookie])
    t.equal(inBody.cookies.length, 1)
  })

  t.test('sets a cookie that lives as long as its token if the session is remembered', async t => {
    const { cookies, body } = await signIn(service.browser(), { ...ada, remember: true })
    t.match(
      cookies[0],
      /^refresh_token_3000=lkr_[\w-]{108}; Max-Age=604800; Path=\/; HttpOnly; SameSite=Strict$/
    )
    const [row] = await service.sql(`
      select remembered, expires_at - created_at = '90 days' as lasts_three_months
      from sessions where id = $1`, [body.session_id])
    t.strictSame(row, { remembered: true, lasts_three_months: true })
  })

  t.test('sets Secure cookies with the __Host- prefix if the issuer has https', async t => {
    const secure = await build(t, { ISSUER_URL: 'https://auth.example.com' }, { url: service.url })
    const { cookies } = await signIn(secure.browser(), ada)
    t.match(cookies, [
      /^__Host-refresh_token=lkr_[\w-]{108}; Path=\/; HttpOnly; Secure; SameSite=Strict$/,
      /^__Host-device=[\w-]+; Max-Age=15552000; Path=\/; HttpOnly; Secure; SameSite=Strict$/
    ])
  })

  t.test('reveals that an account is disabled only with the correct password', async t => {
    const eve = newUser()
    const browser = service.browser()
    const { body } = await register(browser, eve)
    await service.sql('update users set disabled_at = now() where email = $1', [eve.email])
    t.match(await signIn(service.browser(), eve), { status: 403, body: { code: 'account_disabled' } })
    t.match(await signIn(service.browser(), { ...eve, password: 'not it at all' }), { status: 401 })
    t.match(await browser.post('/v1/auth/refresh'), { status: 401, cookies: [] })
    t.match(await browser.get('/v1/me', { authorization: `Bearer ${body.access_token}` }), { status: 401 })
  })

  t.test('rehashes the password with stronger parameters, and never with weaker ones', async t => {
    const grace = newUser()
    await register(service.browser(), grace)
    const storedHash = async () => (await service.sql<{ password_hash: string }>(
      'select password_hash from users where email = $1', [grace.email]))[0]?.password_hash ?? ''
    const before = await storedHash()
    const patience = { lockTimeoutMs: 4_000 }
    const stronger = await build(t, { ARGON2_TIME_COST: '3' }, { url: service.url, ...patience })
    const answers = await Promise.all(Array.from({ length: 5 }, () => signIn(stronger.browser(), grace)))
    const statuses = answers.map(({ status }) => status)
    t.strictSame(statuses, [200, 200, 200, 200, 200], 'concurrent sign-ins all succeed')
    const after = await storedHash()
    t.match(after, /^\$argon2id\$v=19\$m=1024,t=3,p=1\$/)
    t.not(before, after)
    t.match(await signIn(service.browser(), grace), { status: 200 })
    t.equal(await storedHash(), after, 'weaker parameters change nothing')
  })

  t.test('fails with any password if the account has none', async t => {
    const { email } = newUser()
    await service.sql(
      'insert into users (id, email, canonical_email) values (gen_random_uuid(), $1, $1)', [email])
    for (const password of ['null', ' ', 'undefined']) {
      t.match(await signIn(service.browser(), { email, password }), invalidCredentials)
    }
  })

  t.test('fails if the password changes while it is verified', async t => {
    const linus = newUser()
    await register(service.browser(), linus)
    const { verify } = service.app.passwords
    const release = deferred()
    const verified = deferred()
    const slow = await build(t, {}, { url: service.url })
    slow.app.passwords.verify = async (...args) => {
      const isCorrect = await verify(...args)
      verified.resolve()
      await release.promise
      return isCorrect
    }
    const answer = signIn(slow.browser(), linus)
    await verified.promise
    await service.sql(
      'update users set password_version = password_version + 1 where email = $1', [linus.email])
    release.resolve()
    t.match(await answer, invalidCredentials)
  })
})

t.test('a sign-in is refused without a database connection if the hashing queue is full', async t => {
  const service = await build(t, { ARGON2_CONCURRENCY: '1' })
  const { queue } = service.app.passwords
  const release = deferred()
  const work = [queue.run(async () => { await release.promise })]
  for (let network = 0; queue.waiting === network; network++) {
    work.push(queue.run(async () => {}, { network: `${network}` }))
  }
  const transactions = Array.from({ length: 10 }, () =>
    service.app.db.transaction(async () => { await release.promise }))
  const finished = Promise.allSettled([...work, ...transactions])
  // All connections are in use. A sign-in that needed one would fail with database_unavailable after 2 s.
  const answer = await signIn(service.browser(), newUser())
  t.match(answer, { status: 503, body: { code: 'overloaded' } })
  t.ok(Number(answer.headers['retry-after']) >= 1)
  release.resolve()
  await finished
})

t.test("the user's own account", async t => {
  const service = await build(t)
  const browser = service.browser()
  const { body } = await register(browser, newUser())
  browser.accessToken = body.access_token
  const change = async (values: object) => await browser.patch('/v1/me', values)

  t.test('can be read', async t => {
    const expected = { status: 200, body: body.user, headers: { 'cache-control': 'no-store' } }
    t.match(await browser.get('/v1/me'), expected)
    t.match(await browser.send('HEAD', '/v1/me'), { status: 200, text: '' })
  })

  t.test('is changed in the given properties, which null clears', async t => {
    const both = { name: 'Ada', username: 'ADA_1' }
    t.match(await change(both), { status: 200, body: { name: 'Ada', username: 'ada_1' } })
    const renamed = { status: 200, body: { name: 'Ada King', username: 'ada_1' } }
    t.match(await change({ name: 'Ada King' }), renamed)
    t.match(await change({}), renamed)
    const cleared = await change({ name: null, username: null })
    t.match(cleared, { status: 200, body: { name: null, username: null } })
    t.ok(cleared.body.updated_at > body.user.updated_at)
  })

  t.test('is not updated by a change to its current values, which has no audit event', async t => {
    const eventDetails = async () => (await service.sql<{ detail: object }>(`
      select detail from audit_events
      where type = 'user.updated' and user_id = $1 order by id`, [body.user.id])).map(({ detail }) => detail)
    const first = await change({ name: 'Ada', username: 'ada_2' })
    const before = await eventDetails()
    const currentValues = [{ name: 'Ada' }, { username: 'ADA_2' }, { name: 'Ada', username: 'ada_2' }]
    for (const values of currentValues) t.strictSame((await change(values)).body, first.body)
    t.strictSame(await eventDetails(), before)
    const second = await change({ name: 'Ada King', username: 'ada_2' })
    t.ok(second.body.updated_at > first.body.updated_at)
    t.strictSame((await eventDetails()).slice(before.length), [{ changed: ['name'] }])

    const changes = Array.from({ length: 8 }, async () =>
      await repeatUnavailable(async () => await change({ name: 'Countess' })))
    const results = (await Promise.all(changes)).map(({ body }) => `${body.name} ${body.updated_at}`)
    t.strictSame(new Set(results).size, 1)
    const laterEvents = (await eventDetails()).slice(before.length + 1)
    t.strictSame(laterEvents, [{ changed: ['name'] }], 'concurrent changes to the same value count once')
    const cleared = { name: null, username: null }
    t.match(await change(cleared), { status: 200, body: cleared })
  })

  t.test('is not changed by invalid values', async t => {
    await register(service.browser(), { ...newUser(), username: 'alan' })
    t.match(await change({ username: 'Alan' }), { status: 409, body: { code: 'username_taken' } })
    const invalidChanges = [
      { name: '' }, { name: 'x'.repeat(201) }, { name: 'line\nbreak' }, { name: 'nul\u0000' },
      { name: '\udfff' }, { name: 1 }, { username: 'ab' }, { username: 'has space' },
      { username: 'ünïcode' }, { roles: ['admin'] }, { email: 'new@example.com' }, { id: '1' }
    ]
    for (const values of invalidChanges) {
      const expected = invalidAt(`/${Object.keys(values)[0]}`)
      t.match(await change(values), expected, JSON.stringify(values).slice(0, 40))
    }
    t.match(await browser.patch('/v1/me', '[]'), { status: 400 })
    t.match(await browser.patch('/v1/me'), { status: 400 })
    t.match(await browser.get('/v1/me'), { body: { name: null, username: null, roles: ['user'] } })
  })
})
