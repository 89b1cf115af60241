import argon2 from 'argon2'
import t from 'tap'
import type { Answer } from '../support/client.ts'
import { build, newUser } from '../support/app.ts'

const uuid7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/

t.test('signing up', async t => {
  const service = await build(t)

  t.test('makes an account and signs its user in', async t => {
    const answer = await service.browser().post('/v1/auth/register', { email: 'Ada@Example.COM', password: 'a phrase of my own', name: 'Ada Lovelace', username: 'Ada' })
    t.equal(answer.status, 201)
    const { user, ...tokens } = answer.body
    t.match(user, { id: uuid7, email: 'Ada@example.com', username: 'ada', name: 'Ada Lovelace', roles: ['user'], email_verified: false })
    t.equal(new Date(user.created_at).toISOString(), user.created_at)
    t.match(tokens, { token_type: 'Bearer', expires_in: 900, refresh_token_expires_in: 604800, session_id: uuid7 })
    t.equal(answer.headers['cache-control'], 'no-store')
  })

  t.test('keeps nothing of the password but an argon2id hash', async t => {
    const { email, password } = newUser()
    await service.browser().post('/v1/auth/register', { email, password })
    const [{ hash } = { hash: '' }] = await service.sql<{ hash: string }>('select password_hash as hash from users where email = $1', [email])
    t.match(hash, /^\$argon2id\$v=19\$m=1024,t=1,p=1\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$/)
    t.ok(await argon2.verify(hash, password))
    t.notOk(service.logs.some(line => JSON.stringify(line).includes(password)))
  })

  t.test('refuses an address that is taken, however it is written', async t => {
    await service.browser().post('/v1/auth/register', { email: 'taken@bücher.example', password: 'a phrase of my own' })
    for (const email of ['taken@bücher.example', ' TAKEN@BÜCHER.EXAMPLE ', 'taken@xn--bcher-kva.example', 'ｔａｋｅｎ@bücher.example', 'taken@bu\u0308cher.example']) {
      const answer = await service.browser().post('/v1/auth/register', { email, password: 'a phrase of my own' })
      t.match(answer, { status: 409, body: { code: 'email_taken' }, cookies: [] }, email)
    }
    t.equal((await service.browser().post('/v1/auth/register', { email: 'tak.en@bücher.example', password: 'a phrase of my own' })).status, 201, 'dots mean what the owner makes of them')
    t.equal((await service.browser().post('/v1/auth/register', { email: 'taken+1@bücher.example', password: 'a phrase of my own' })).status, 201, 'and plus signs too')
  })

  t.test('refuses a username that is taken, and leaves no account behind', async t => {
    await service.browser().post('/v1/auth/register', { ...newUser(), username: 'grace' })
    const second = newUser()
    t.match(await service.browser().post('/v1/auth/register', { ...second, username: 'GRACE' }), { status: 409, body: { code: 'username_taken' } })
    t.strictSame(await service.sql('select 1 from users where email = $1', [second.email]), [])
  })

  t.test('of many that register one address at once, lets exactly one in', async t => {
    const { email, password } = newUser()
    // One that waits too long for the others is told to come back, and does so.
    const register = async (): Promise<Answer> => {
      const answer = await service.browser().post('/v1/auth/register', { email, password })
      return answer.status === 503 && answer.headers['retry-after'] === '1' ? await register() : answer
    }
    const answers = await Promise.all(Array.from({ length: 20 }, register))
    t.equal(answers.filter(({ status }) => status === 201).length, 1)
    t.equal(answers.filter(({ body }) => body.code === 'email_taken').length, 19)
    const [rows] = await service.sql('select count(*)::int as users, (select count(*)::int from sessions where user_id = (select id from users where email = $1)) as sessions from users where email = $1', [email])
    t.strictSame(rows, { users: 1, sessions: 1 })
  })

  t.test('refuses what is no e-mail address', async t => {
    for (const email of ['', 'ada', 'ada@', '@example.com', 'ada@localhost', 'ada@example', 'ada lovelace@example.com', 'ada@exa mple.com', 'ada@example..com', '.ada@example.com', 'ada.@example.com', 'a..da@example.com', '"ada"@example.com', 'ada@[127.0.0.1]', 'ada@127.0.0.1', 'ada@example.com\u0000', 'ada\u0000@example.com', 'ada@example.com\r\nBcc: eve@example.com', 'ada@-example.com', 'ada@example.com/x', 'ada@example.com:80', 'ada<eve@example.com', `${'a'.repeat(65)}@example.com`, `ada@${'a.'.repeat(130)}com`, '\ud800@example.com']) {
      const answer = await service.browser().post('/v1/auth/register', { email, password: 'a phrase of my own' })
      t.match(answer, { status: 400, body: { code: 'validation_failed', errors: [{ pointer: '/email' }] } }, JSON.stringify(email))
    }
  })

  t.test('refuses passwords that are easy to guess, with every reason', async t => {
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
      const { email } = newUser()
      const answer = await service.browser().post('/v1/auth/register', { email, ...owner, password })
      t.match(answer, { status: 422, body: { code: 'password_rejected', reasons } }, password.slice(0, 30))
      t.equal(answer.body.reasons.length, reasons.length)
    }
  })

  t.test('takes any other password whole: long, in any script, with any character', async t => {
    for (const password of ['x'.repeat(256), '😀'.repeat(256), '  leading and trailing  ', 'пароль из слов', 'nul \u0000 in the middle', 'a'.repeat(72) + 'the tail counts', 'p\u0301\ufb01 compatibility']) {
      const { email } = newUser()
      t.equal((await service.browser().post('/v1/auth/register', { email, password })).status, 201, password.slice(0, 30))
      t.equal((await service.browser().post('/v1/auth/login', { email, password })).status, 200)
      t.equal((await service.browser().post('/v1/auth/login', { email, password: password.slice(0, -1) })).status, 401)
      t.equal((await service.browser().post('/v1/auth/login', { email, password: password + ' ' })).status, 401)
    }
  })

  t.test('takes a password for the same however a keyboard composes it', async t => {
    const { email } = newUser()
    await service.browser().post('/v1/auth/register', { email, password: 'Caf\u00e9 cr\u00e8me' })
    t.equal((await service.browser().post('/v1/auth/login', { email, password: 'Cafe\u0301 cre\u0300me' })).status, 200)
    t.equal((await service.browser().post('/v1/auth/login', { email, password: 'cafe\u0301 cre\u0300me' })).status, 401, 'but not whatever its case')
  })

  t.test('refuses what nobody could have typed', async t => {
    for (const password of ['', 'x'.repeat(1025), 'half a pair \ud800 of surrogates', 12345678, null, ['a phrase of my own'], { length: 20 }]) {
      const answer = await service.browser().post('/v1/auth/register', { email: newUser().email, password })
      t.match(answer, { status: 400, body: { code: 'validation_failed', errors: [{ pointer: '/password' }] } })
    }
  })

  t.test('makes nobody an administrator by an extra property', async t => {
    const { email, password } = newUser()
    for (const extra of ['roles', 'email_verified', 'id', 'password_hash', '__proto__x']) {
      t.match(await service.browser().post('/v1/auth/register', { email, password, [extra]: ['admin'] }), { status: 400, body: { errors: [{ pointer: `/${extra}` }] } })
    }
    t.strictSame(await service.sql('select 1 from users where email = $1', [email]), [])
  })
})

t.test('signing in', async t => {
  const service = await build(t)
  const ada = newUser()
  await service.browser().post('/v1/auth/register', { ...ada, username: 'ada' })

  t.test('takes the e-mail address or the username', async t => {
    t.match(await service.browser().post('/v1/auth/login', ada), { status: 200, body: { user: { email: ada.email } } })
    t.match(await service.browser().post('/v1/auth/login', { email: ada.email.toUpperCase(), password: ada.password }), { status: 200 })
    t.match(await service.browser().post('/v1/auth/login', { username: 'ADA', password: ada.password }), { status: 200 })
    t.match(await service.browser().post('/v1/auth/login', { ...ada, username: 'ada' }), { status: 400 })
    t.match(await service.browser().post('/v1/auth/login', { password: ada.password }), { status: 400 })
  })

  t.test('tells nobody whether an account exists', async t => {
    const wrong = await service.browser().post('/v1/auth/login', { email: ada.email, password: 'not the password' })
    for (const login of [{ email: 'nobody@example.com' }, { email: 'not an address' }, { email: '' }, { email: '\u0000' }, { email: 'x'.repeat(320) }, { username: 'nobody' }, { username: '💥' }]) {
      const unknown = await service.browser().post('/v1/auth/login', { ...login, password: 'not the password' })
      t.equal(unknown.status, 401)
      const { instance: one, ...told } = unknown.body
      const { instance: other, ...toldOfKnown } = wrong.body
      t.not(one, other)
      t.strictSame(told, toldOfKnown)
      t.strictSame(Object.keys(unknown.headers), Object.keys(wrong.headers))
    }
    for (const password of ['x'.repeat(257), 'x'.repeat(1024), '\ud800', ' ']) {
      t.match(await service.browser().post('/v1/auth/login', { email: ada.email, password }), { status: 401, body: { code: 'invalid_credentials' } })
    }
  })

  t.test('opens a new session each time', async t => {
    const one = await service.browser().post('/v1/auth/login', ada)
    const other = await service.browser().post('/v1/auth/login', ada)
    t.not(one.body.session_id, other.body.session_id)
    const [row] = await service.sql("select host(ip) as ip, user_agent, methods, remembered, expires_at - created_at = '30 days' as a_month from sessions where id = $1", [other.body.session_id])
    t.match(row, { ip: '127.0.0.1', user_agent: 'lightMyRequest', methods: ['pwd'], remembered: false, a_month: true })
  })

  t.test('delivers the refresh token in a cookie that no script reads, unless it is asked for in the body', async t => {
    const inCookie = await service.browser().post('/v1/auth/login', ada)
    t.notOk('refresh_token' in inCookie.body)
    const device = /^device=[\w-]+; Max-Age=15552000; Path=\/; HttpOnly; SameSite=Strict$/
    t.match(inCookie.cookies, [/^refresh_token=lkr_[\w-]{108}; Path=\/; HttpOnly; SameSite=Strict$/, device])
    t.equal(inCookie.cookies.length, 2)
    const explicit = await service.browser().post('/v1/auth/login', { ...ada, refresh_token_delivery: 'cookie' })
    t.match(explicit.cookies, [/^refresh_token=/, device])
    const inBody = await service.browser().post('/v1/auth/login', { ...ada, refresh_token_delivery: 'body' })
    t.match(inBody.body.refresh_token, /^lkr_[\w-]{108}$/)
    t.match(inBody.cookies, [device])
    t.equal(inBody.cookies.length, 1)
  })

  t.test('keeps the cookie of a remembered session for as long as its token lives', async t => {
    const { cookies, body } = await service.browser().post('/v1/auth/login', { ...ada, remember: true })
    t.match(cookies[0], /^refresh_token=lkr_[\w-]{108}; Max-Age=604800; Path=\/; HttpOnly; SameSite=Strict$/)
    const [row] = await service.sql("select remembered, expires_at - created_at = '90 days' as three_months from sessions where id = $1", [body.session_id])
    t.strictSame(row, { remembered: true, three_months: true })
  })

  t.test('behind https the cookie is Secure, and bound to the host', async t => {
    const secure = await build(t, { ISSUER_URL: 'https://auth.example.com' }, { url: service.url })
    const { cookies } = await secure.browser().post('/v1/auth/login', ada)
    t.match(cookies, [/^__Host-refresh_token=lkr_[\w-]{108}; Path=\/; HttpOnly; Secure; SameSite=Strict$/, /^__Host-device=[\w-]+; Max-Age=15552000; Path=\/; HttpOnly; Secure; SameSite=Strict$/])
  })

  t.test('tells the owner of a disabled account, and nobody else', async t => {
    const eve = newUser()
    const browser = service.browser()
    const { body } = await browser.post('/v1/auth/register', eve)
    await service.sql('update users set disabled_at = now() where email = $1', [eve.email])
    t.match(await service.browser().post('/v1/auth/login', eve), { status: 403, body: { code: 'account_disabled' } })
    t.match(await service.browser().post('/v1/auth/login', { email: eve.email, password: 'not it at all' }), { status: 401 })
    t.match(await browser.post('/v1/auth/refresh'), { status: 401, cookies: [] })
    t.match(await browser.get('/v1/me', { authorization: `Bearer ${body.access_token}` }), { status: 401 })
  })

  t.test('hashes again when the parameters have grown, and only then', async t => {
    const grace = newUser()
    await service.browser().post('/v1/auth/register', grace)
    const hash = async () => (await service.sql<{ password_hash: string }>('select password_hash from users where email = $1', [grace.email]))[0]?.password_hash ?? ''
    const before = await hash()
    const stronger = await build(t, { ARGON2_TIME_COST: '3' }, { url: service.url })
    const answers = await Promise.all(Array.from({ length: 5 }, () => stronger.browser().post('/v1/auth/login', grace)))
    t.strictSame(answers.map(({ status }) => status), [200, 200, 200, 200, 200], 'none of those that race to do it is refused')
    const after = await hash()
    t.match(after, /^\$argon2id\$v=19\$m=1024,t=3,p=1\$/)
    t.not(before, after)
    t.match(await service.browser().post('/v1/auth/login', grace), { status: 200 })
    t.equal(await hash(), after, 'weaker parameters change nothing')
  })

  t.test('an account without a password is signed in by none', async t => {
    const { email } = newUser()
    await service.sql('insert into users (id, email, canonical_email) values (gen_random_uuid(), $1, $1)', [email])
    for (const password of ['null', ' ', 'undefined']) t.match(await service.browser().post('/v1/auth/login', { email, password }), { status: 401, body: { code: 'invalid_credentials' } })
  })

  t.test('does not open a session for a password that was changed while it was checked', async t => {
    const linus = newUser()
    await service.browser().post('/v1/auth/register', linus)
    const { verify } = service.app.passwords
    const held = resolvers()
    const reached = resolvers()
    const slow = await build(t, {}, { url: service.url })
    slow.app.passwords.verify = async (...args) => {
      const right = await verify(...args)
      reached.resolve()
      await held.promise
      return right
    }
    const login = slow.browser().post('/v1/auth/login', linus)
    await reached.promise
    await service.sql('update users set password_version = password_version + 1 where email = $1', [linus.email])
    held.resolve()
    t.match(await login, { status: 401, body: { code: 'invalid_credentials' } })
  })
})

t.test('a sign-in for which there is no room is refused before it costs a connection to the database', async t => {
  const service = await build(t, { ARGON2_CONCURRENCY: '1' })
  const { queue } = service.app.passwords
  const held = resolvers()
  const work = [queue.run(async () => { await held.promise })]
  for (let network = 0; queue.waiting === network; network++) work.push(queue.run(async () => {}, { network: `${network}` }))
  work.push(...Array.from({ length: 10 }, () => service.app.db.transaction(async () => { await held.promise })))
  const settled = Promise.allSettled(work)
  // With a connection that is not to be had it would be database_unavailable, after two seconds.
  const answer = await service.browser().post('/v1/auth/login', newUser())
  t.match(answer, { status: 503, body: { code: 'overloaded' } })
  t.ok(Number(answer.headers['retry-after']) >= 1)
  held.resolve()
  await settled
})

t.test('the own account', async t => {
  const service = await build(t)
  const browser = service.browser()
  const { body } = await browser.post('/v1/auth/register', newUser())
  browser.accessToken = body.access_token

  t.test('is read', async t => {
    t.match(await browser.get('/v1/me'), { status: 200, body: body.user, headers: { 'cache-control': 'no-store' } })
    t.match(await browser.send('HEAD', '/v1/me'), { status: 200, text: '' })
  })

  t.test('is changed in what is named, and null clears it', async t => {
    t.match(await browser.patch('/v1/me', { name: 'Ada', username: 'ADA_1' }), { status: 200, body: { name: 'Ada', username: 'ada_1' } })
    t.match(await browser.patch('/v1/me', { name: 'Ada King' }), { status: 200, body: { name: 'Ada King', username: 'ada_1' } })
    t.match(await browser.patch('/v1/me', {}), { status: 200, body: { name: 'Ada King', username: 'ada_1' } })
    const cleared = await browser.patch('/v1/me', { name: null, username: null })
    t.match(cleared, { status: 200, body: { name: null, username: null } })
    t.ok(cleared.body.updated_at > body.user.updated_at)
  })

  t.test('is not touched by a change to what it is already, which is no event either', async t => {
    const events = async () => (await service.sql<{ detail: object }>("select detail from audit_events where type = 'user.updated' and user_id = $1 order by id", [body.user.id])).map(({ detail }) => detail)
    const first = await browser.patch('/v1/me', { name: 'Ada', username: 'ada_2' })
    const before = await events()
    for (const same of [{ name: 'Ada' }, { username: 'ADA_2' }, { name: 'Ada', username: 'ada_2' }]) t.strictSame((await browser.patch('/v1/me', same)).body, first.body)
    t.strictSame(await events(), before)
    const half = await browser.patch('/v1/me', { name: 'Ada King', username: 'ada_2' })
    t.ok(half.body.updated_at > first.body.updated_at)
    t.strictSame((await events()).slice(before.length), [{ changed: ['name'] }])

    const answers = await Promise.all(Array.from({ length: 8 }, async () => await browser.patch('/v1/me', { name: 'Countess' })))
    t.strictSame(new Set(answers.map(({ body: { name, updated_at: at } }) => `${name} ${at}`)).size, 1)
    t.strictSame((await events()).slice(before.length + 1), [{ changed: ['name'] }], 'also if many change it to the same at once')
    t.match(await browser.patch('/v1/me', { name: null, username: null }), { status: 200, body: { name: null, username: null } })
  })

  t.test('is not changed by what does not fit', async t => {
    await service.browser().post('/v1/auth/register', { ...newUser(), username: 'alan' })
    t.match(await browser.patch('/v1/me', { username: 'Alan' }), { status: 409, body: { code: 'username_taken' } })
    for (const change of [{ name: '' }, { name: 'x'.repeat(201) }, { name: 'line\nbreak' }, { name: 'nul\u0000' }, { name: '\udfff' }, { name: 1 }, { username: 'ab' }, { username: 'has space' }, { username: 'ünïcode' }, { roles: ['admin'] }, { email: 'new@example.com' }, { id: '1' }]) {
      t.match(await browser.patch('/v1/me', change), { status: 400, body: { code: 'validation_failed', errors: [{ pointer: `/${Object.keys(change)[0]}` }] } }, JSON.stringify(change).slice(0, 40))
    }
    t.match(await browser.patch('/v1/me', '[]'), { status: 400 })
    t.match(await browser.patch('/v1/me'), { status: 400 })
    t.match(await browser.get('/v1/me'), { body: { name: null, username: null, roles: ['user'] } })
  })
})

function resolvers () {
  let resolve: (value?: unknown) => void = () => {}
  const promise = new Promise(_resolve => { resolve = _resolve })
  return { promise, resolve }
}
