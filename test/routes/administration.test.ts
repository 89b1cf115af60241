import { randomUUID } from 'node:crypto'
import fc from 'fast-check'
import t from 'tap'
import { connect } from '../../src/database/database.ts'
import type { Answer, Browser } from '../support/client.ts'
import { build, newUser, type Service } from '../support/app.ts'
import { mailTo } from '../support/inbox.ts'
import { waitUntil } from '../support/polling.ts'
import { scale } from '../support/soak.ts'

interface Somebody { browser: Browser, id: string, email: string, password: string }

/** A signed-in user with these roles beside `user`. */
async function signedIn (service: Service, ...roles: string[]): Promise<Somebody> {
  const [browser, somebody] = [service.browser(), newUser()]
  const { body } = await browser.post('/v1/auth/register', somebody)
  await service.sql('update users set roles = $2 where id = $1', [body.user.id, ['user', ...roles]])
  browser.accessToken = (await browser.post('/v1/auth/refresh')).body.access_token
  return { browser, id: body.user.id, ...somebody }
}

/** What the service is told of roles. */
const configured = { ROLES: 'editor,support' }

const ids = ({ body }: Answer): string[] => body.items.map(({ id }: { id: string }) => id)
const addresses = ({ body }: Answer): string[] => body.items.map(({ email }: { email: string }) => email)

/** All pages of a list. */
async function everything (browser: Browser, url: string): Promise<Array<Record<string, unknown>>> {
  const items = []
  for (let cursor: string | null = ''; cursor !== null;) {
    const { body } = await browser.get(`${url}${url.includes('?') ? '&' : '?'}limit=7${cursor && `&cursor=${cursor}`}`)
    items.push(...body.items)
    cursor = body.next_cursor
  }
  return items
}

const audited = async (service: Service, userId: string) =>
  await service.sql<{ type: string, actor_id: string, detail: object }>("select type, actor_id, detail from audit_events where user_id = $1 and type like 'user.%' order by id", [userId])

t.test('the routes for users and the audit log', async t => {
  const service = await build(t, configured)
  const admin = await signedIn(service, 'admin')
  const { id } = await signedIn(service)
  const routes = [
    ['GET', '/v1/admin/users'], ['POST', '/v1/admin/users', newUser()], ['GET', `/v1/admin/users/${id}`], ['PATCH', `/v1/admin/users/${id}`, { roles: ['admin'] }],
    ['DELETE', `/v1/admin/users/${id}`], ['GET', `/v1/admin/users/${id}/sessions`], ['DELETE', `/v1/admin/users/${id}/sessions`],
    ['POST', `/v1/admin/users/${id}/password-reset`], ['GET', '/v1/admin/audit-events']
  ] as const
  const refused = async (browser: Browser, status: number) => {
    for (const [method, url, body] of routes) t.equal((await browser.send(method, url, body)).status, status, `${method} ${url}`)
  }

  await t.test('are for administrators alone, as they are now', async () => {
    await refused(service.browser(), 401)
    await refused((await signedIn(service, 'administrator')).browser, 403)
    const former = await signedIn(service, 'admin')
    t.equal((await former.browser.get('/v1/admin/users')).status, 200)
    t.equal((await admin.browser.patch(`/v1/admin/users/${former.id}`, { roles: ['user'] })).status, 200)
    await refused(former.browser, 401)
    former.browser.accessToken = (await former.browser.post('/v1/auth/refresh')).body.access_token
    await refused(former.browser, 403)
    const unheard = await signedIn(service, 'admin')
    await service.sql("update users set roles = '{user}' where id = $1", [unheard.id])
    await refused(unheard.browser, 403)
  })

  await t.test('know nobody whose id nobody has, and take nothing else for one', async t => {
    for (const [method, url, body] of routes.filter(([, url]) => url.includes(id))) {
      t.match(await admin.browser.send(method, url.replace(id, randomUUID()), body), { status: 404, body: { code: 'not_found' } }, `${method} ${url}`)
      for (const bad of ['1', `${randomUUID()}%00`, `urn:uuid:${randomUUID()}`]) t.equal((await admin.browser.send(method, url.replace(id, bad), body)).status, 400, `${method} ${url} ${bad}`)
    }
  })

  await t.test('answer nonsense with 400, never with a fault', async t => {
    const email = ['', '%00', 'a%00', 'x'.repeat(321), '%0a'].map(each => `users?email=${each}`)
    const cursors = ['', 'x', '%00', '=', 'YQ==', 'a'.repeat(1025), Buffer.from('no address').toString('base64url'), Buffer.from('a\0@example.com').toString('base64url'), `${Buffer.from('a@example.com').toString('base64url')}A`, randomUUID()].map(each => `users?cursor=${each}`)
    const others = ['users?role=', 'users?role=%00', 'users?status=gone', 'users?limit=0', 'users?limit=101', 'users?odd=1',
      'audit-events?user_id=1', 'audit-events?type=odd', 'audit-events?since=yesterday', 'audit-events?until=2026-02-30T00:00:00Z', 'audit-events?since=2016-12-31T23:59:60Z', 'audit-events?cursor=x', `audit-events?cursor=urn:uuid:${randomUUID()}`]
    for (const url of [...email, ...cursors, ...others]) t.match(await admin.browser.get(`/v1/admin/${url}`), { status: 400, body: { code: 'validation_failed' } }, url)
    const odd = ['%25', '_', '%5c', "'", '%c3%28', '%f4%8f%bf%bf', '%ef%b7%ba'.repeat(50), 'x'.repeat(320), '%F0%9F%98%80', '@', 'ada@m%C3%BCnchen.example']
    for (const each of odd) t.match(await admin.browser.get(`/v1/admin/users?email=${each}`), { status: 200, body: { items: [] } }, each)
    for (const time of ['0000-01-01T00:00:00Z', '0001-01-01T00:00:00Z', '9999-12-31T23:59:59.999999999Z']) {
      for (const bound of ['since', 'until']) t.equal((await admin.browser.get(`/v1/admin/audit-events?${bound}=${time}`)).status, 200, `${bound} ${time}`)
    }
    const changes = [{ password: 'correct horse battery' }, { email: 'a@b.example' }, { roles: 'admin' }, { roles: ['Admin'] }, { roles: [''] }, { roles: ['a b'] }, { roles: [null] }, { roles: ['x'.repeat(65)] }, { roles: Array.from({ length: 51 }, (_, index) => `r${index}`) },
      { status: 'deleted' }, { status: null }, { email_verified: 'yes' }, { username: 'no such thing' }, { name: '' }, { name: 'a\u0000' }]
    for (const change of changes) t.match(await admin.browser.patch(`/v1/admin/users/${id}`, change), { status: 400 }, JSON.stringify(change))
  })
})

t.test('the list of users', async t => {
  const service = await build(t, configured)
  const { browser, id: adminId } = await signedIn(service, 'admin')
  const made = async (email: string, { roles = ['user'], disabled = false } = {}) => {
    await service.sql('insert into users (id, email, canonical_email, roles, disabled_at) values ($1, $2, lower($2), $3, case when $4 then now() end)', [randomUUID(), email, roles, disabled])
  }
  const list = async (query: string) => addresses(await browser.get(`/v1/admin/users?${query}`))

  await t.test('is narrowed by the beginning of the address, in which no character stands for another', async t => {
    for (const email of ['b_b@list.example', 'bxb@list.example', 'b%b@list.example', 'b.b@list.example', 'B+b@list.example', 'bb@list.example', 'é@list.example']) await made(email)
    t.strictSame(await list('email=b_'), ['b_b@list.example'])
    t.strictSame(await list('email=b%25'), ['b%b@list.example'])
    t.strictSame(await list('email=%20B%2BB@LIST'), ['B+b@list.example'], 'whatever the case')
    t.strictSame(await list('email=bb@list.example'), ['bb@list.example'], 'a whole address too')
    t.strictSame(await list('email=e%CC%81'), ['é@list.example'], 'and whatever the Unicode form')
    t.strictSame(await list('email=b'), ['b%b@list.example', 'B+b@list.example', 'b.b@list.example', 'b_b@list.example', 'bb@list.example', 'bxb@list.example'], 'in the order of code points')
    t.strictSame(await list('email=c'), [])
  })

  await t.test('gives each user once, in pages, whatever is asked for together', async t => {
    await fc.assert(fc.asyncProperty(
      fc.uniqueArray(fc.record({
        name: fc.stringMatching(/^[abc_]{1,3}$/),
        roles: fc.uniqueArray(fc.constantFrom('user', 'editor', 'support')),
        disabled: fc.boolean()
      }), { selector: ({ name }) => name, maxLength: 30 }),
      fc.record({ email: fc.constantFrom('', 'a', 'ab', '_', 'c'), role: fc.constantFrom('', 'user', 'editor', 'support'), status: fc.constantFrom('', 'active', 'disabled') }),
      async (people, filter) => {
        await service.sql('delete from users where id <> $1', [adminId])
        for (const { name, ...rest } of people) await made(`${name}@z.example`, rest)
        const email = filter.email === '' ? [] : [`email=${filter.email}`]
        const query = [...email, ...filter.role ? [`role=${filter.role}`] : [], ...filter.status ? [`status=${filter.status}`] : []].join('&')
        const found = (await everything(browser, `/v1/admin/users?${query}`)).filter(({ id }) => id !== adminId).map(({ email, roles, status }) => ({ email, roles, status }))
        const expected = people.filter(({ name, roles, disabled }) => name.startsWith(filter.email) && (!filter.role || roles.includes(filter.role)) && (!filter.status || (filter.status === 'disabled') === disabled))
          .map(({ name, roles, disabled }) => ({ email: `${name}@z.example`, roles, status: disabled ? 'disabled' : 'active' }))
          .sort((one, other) => one.email < other.email ? -1 : 1)
        t.strictSame(found, expected)
      }
    ), { numRuns: scale(40, 12) })
  })

  await t.test('goes on after an address that is longer in lower case than one may be', async t => {
    const given = ['İ'.repeat(32) + '@list.example', 'ẞ'.repeat(21) + '@list.example', `İİ@${'d'.repeat(60)}.${'d'.repeat(60)}.${'d'.repeat(60)}.${'d'.repeat(60)}.example`]
    for (const email of given) t.match(await service.browser().post('/v1/auth/register', { ...newUser(), email }), { status: 201 })
    for (const email of given) {
      const { status, body } = await browser.get(`/v1/admin/users?limit=1&email=${encodeURIComponent(email.slice(0, -1))}`)
      t.match({ status, body }, { status: 200, body: { items: [{ email }] } })
    }
    let count = 0
    for (let cursor: string | null = ''; cursor !== null; count++) {
      const { status, body }: Answer = await browser.get(`/v1/admin/users?limit=1${cursor && `&cursor=${cursor}`}`)
      t.equal(status, 200)
      cursor = body.next_cursor
    }
    t.equal(count, (await service.sql('select 1 from users')).length)
  })

  await t.test('goes on where it was when users go, come and change on the way', async t => {
    await service.sql('delete from users where id <> $1', [adminId])
    for (const name of ['a', 'b', 'c', 'd', 'e']) await made(`${name}@way.example`, { roles: ['walker'] })
    const { body: first } = await browser.get('/v1/admin/users?role=walker&limit=2')
    await service.sql("delete from users where email in ('b@way.example', 'd@way.example')")
    await made('aa@way.example', { roles: ['walker'] })
    await made('ca@way.example', { roles: ['walker', 'walker'] })
    await service.sql("update users set disabled_at = now() where email = 'e@way.example'")
    t.strictSame(first.items.map(({ email }: { email: string }) => email), ['a@way.example', 'b@way.example'])
    t.strictSame(await list(`role=walker&cursor=${first.next_cursor}`), ['c@way.example', 'ca@way.example', 'e@way.example'])
    t.strictSame(await list('role=walker&status=disabled'), ['e@way.example'])
    await service.sql("update users set email = 'x@way.example', canonical_email = 'x@way.example', roles = '{runner}', disabled_at = null where email = 'e@way.example'")
    t.strictSame([await list('role=walker&status=disabled'), await list('role=runner')], [[], ['x@way.example']])
  })

  await t.test('walks over no more than it shows, of 20,000', async t => {
    await service.sql(`insert into users (id, email, canonical_email, roles, disabled_at)
      select gen_random_uuid(), address, address, case when i % 2 = 0 then '{user,even}' else '{user,odd}' end::text[], case when i > 19000 then now() end
      from generate_series(1, 20000) as i, lateral (select format('person-%s@many.example', lpad(i::text, 5, '0')) as address) as named`)
    await service.sql('analyze users, user_roles')
    const { list } = await import('../../src/users/listing.ts')
    const filters = [{}, { status: 'active' }, { status: 'disabled' }, { role: 'odd' }, { role: 'user', status: 'disabled' }, { role: 'nobody' }, { email: 'person-1' }, { email: 'person-19999@' }, { email: 'person', role: 'even', status: 'disabled' }, { email: 'zzz' }] as const
    for (const filter of filters) {
      for (const after of [undefined, 'person-18000@many.example']) {
        let plan = ''
        await list({
          publish () {},
          query: async (statement, values) => {
            const text = typeof statement === 'string' ? statement : statement.text
            // What `$n` stands for is in the plan.
            const bound = text.replaceAll(/\$(\d)/g, (_, index) => { const value = values?.[Number(index) - 1]; return typeof value === 'number' ? String(value) : `'${String(value)}'` })
            const rows = await service.sql<{ 'QUERY PLAN': string }>(`explain (analyze, buffers, costs off) ${bound}`)
            plan = rows.map(row => row['QUERY PLAN']).join('\n')
            return []
          }
        }, filter, { after, limit: 21 })
        const walked = [...plan.matchAll(/rows=(\d+)(?:\.\d+)? loops=(\d+)/g)].map(([, rows, loops]) => Number(rows) * Number(loops))
        t.notMatch(plan, /Seq Scan on (users|user_roles)/, JSON.stringify(filter))
        t.notMatch(plan, /Rows Removed by Filter/, JSON.stringify(filter))
        t.ok(walked.length > 0 && Math.max(...walked) <= 42, `${JSON.stringify({ ...filter, after })}: ${plan}`)
      }
    }
  })
})

t.test('an account that an administrator makes', async t => {
  const service = await build(t, configured)
  const { browser: admin, id: adminId } = await signedIn(service, 'admin')

  await t.test('with a password is one like any other', async t => {
    const { email, password } = newUser()
    const { status, body } = await admin.post('/v1/admin/users', { email, password, name: 'Ada', username: 'Ada.L', roles: ['user', 'editor', 'editor'], email_verified: true })
    t.equal(status, 201)
    t.match(body, { email, name: 'Ada', username: 'ada.l', roles: ['user', 'editor'], status: 'active', email_verified: true })
    t.notMatch(JSON.stringify(body), /password|hash/)
    t.strictSame((await admin.get(`/v1/admin/users/${body.id}`)).body, body)
    t.strictSame(await audited(service, body.id), [
      { type: 'user.registered', actor_id: adminId, detail: { invited: false } },
      { type: 'user.verified', actor_id: adminId, detail: {} },
      { type: 'user.roles_changed', actor_id: adminId, detail: { from: ['user'], to: ['user', 'editor'] } }
    ])
    t.match(await service.browser().post('/v1/auth/login', { username: 'ada.l', password }), { status: 200, body: { user: { roles: ['user', 'editor'] } } })
    t.match(await admin.post('/v1/admin/users', { ...newUser(), email: email.toUpperCase() }), { status: 409, body: { code: 'email_taken' } })
    t.match(await admin.post('/v1/admin/users', { ...newUser(), username: 'ADA.l' }), { status: 409, body: { code: 'username_taken' } })
  })

  await t.test('has no password that a registration would not take', async t => {
    const { email } = newUser()
    for (const [password, reason] of [['short', 'too_short'], ['password1234', 'too_common'], [`${email} and more`, 'contains_email']]) {
      t.match(await admin.post('/v1/admin/users', { email, password }), { status: 422, body: { code: 'password_rejected', reasons: [reason] } })
    }
    for (const bad of [{ email: 'nothing' }, {}, { email, password: '' }, { email, password: null }, { email, username: 'a' }, { email, status: 'disabled' }, { email, id: randomUUID() }]) t.equal((await admin.post('/v1/admin/users', bad)).status, 400, JSON.stringify(bad))
    t.strictSame((await admin.get(`/v1/admin/users?email=${email}`)).body.items, [], 'and none was made')
  })

  await t.test('without one invites its owner to set the first', async t => {
    const { email, password } = newUser()
    const { body } = await admin.post('/v1/admin/users', { email, roles: ['support'] })
    t.match(body, { email_verified: false, roles: ['support'] })
    t.equal((await service.browser().post('/v1/auth/login', { email, password })).status, 401)
    const { token } = await mailTo(service, email, 'invitation')
    const [link] = await service.sql<{ hours: number }>('select round(extract(epoch from expires_at - created_at) / 3600)::int as hours from one_time_tokens where user_id = $1', [body.id])
    t.strictSame(link, { hours: 24 })
    const visitor = service.browser()
    t.match(await visitor.post('/v1/auth/password-reset/confirm', { token, new_password: 'short' }), { status: 422 })
    t.equal((await visitor.post('/v1/auth/password-reset/confirm', { token, new_password: password })).status, 204)
    t.match(await visitor.post('/v1/auth/password-reset/confirm', { token, new_password: password }), { status: 410 }, 'once')
    t.match(await visitor.post('/v1/auth/login', { email, password }), { status: 200, body: { user: { roles: ['support'], email_verified: true } } })
  })

  await t.test('is one, of many that are made at a time with one address', async t => {
    const { email } = newUser()
    const answers = await Promise.all(Array.from({ length: 8 }, async () => (await admin.post('/v1/admin/users', { email })).status))
    t.strictSame(answers.sort(), [201, 409, 409, 409, 409, 409, 409, 409])
  })
})

t.test('a change by an administrator', async t => {
  const service = await build(t, configured)
  const { browser: admin, id: adminId } = await signedIn(service, 'admin')
  const url = (id: string) => `/v1/admin/users/${id}`

  await t.test('is of what is named, and audited fact by fact', async t => {
    const { id } = await signedIn(service)
    const { body: before } = await admin.get(url(id))
    t.strictSame((await admin.patch(url(id), {})).body, before)
    const { status, body } = await admin.patch(url(id), { name: 'Grace', username: 'Grace', roles: ['user', 'editor'], status: 'disabled', email_verified: true })
    t.equal(status, 200)
    t.match(body, { name: 'Grace', username: 'grace', roles: ['user', 'editor'], status: 'disabled', email_verified: true })
    const events = async () => (await audited(service, id)).slice(1)
    const facts = [
      { type: 'user.disabled', actor_id: adminId, detail: {} },
      { type: 'user.roles_changed', actor_id: adminId, detail: { from: ['user'], to: ['user', 'editor'] } },
      { type: 'user.updated', actor_id: adminId, detail: { changed: ['name', 'username'] } },
      { type: 'user.verified', actor_id: adminId, detail: {} }
    ]
    t.strictSame(await events(), facts)
    const again = await admin.patch(url(id), { name: 'Grace', username: 'GRACE', roles: ['editor', 'user'], status: 'disabled', email_verified: true })
    t.strictSame(again.body, body)
    t.strictSame(await events(), facts, 'what is so already is no event')
    t.match((await admin.patch(url(id), { status: 'active', email_verified: false, name: null })).body, { status: 'active', email_verified: false, name: null, username: 'grace' })
    t.strictSame((await events()).slice(4).map(({ type }) => type), ['user.enabled', 'user.updated', 'user.updated'])
  })

  await t.test('happens whole or not at all', async t => {
    const [one, other] = [await signedIn(service), await signedIn(service)]
    await admin.patch(url(one.id), { username: 'taken' })
    const { body: before } = await admin.get(url(other.id))
    t.match(await admin.patch(url(other.id), { username: 'TAKEN', roles: ['editor'], status: 'disabled' }), { status: 409, body: { code: 'username_taken' } })
    t.strictSame((await admin.get(url(other.id))).body, before)
    t.equal((await other.browser.get('/v1/me')).status, 200)
  })

  await t.test('that disables a user ends all their sessions at once, and deletes nothing', async t => {
    const other = await build(t, configured, { url: service.url })
    const { browser, id, email, password } = await signedIn(service)
    await service.browser().post('/v1/auth/login', { email, password })
    const elsewhere = other.browser()
    elsewhere.accessToken = browser.accessToken
    t.equal((await elsewhere.get('/v1/me')).status, 200)
    t.equal((await service.browser().post('/v1/auth/magic-link', { email })).status, 202)
    const { token } = await mailTo(service, email, 'magic_link')
    await admin.patch(url(id), { status: 'disabled' })
    t.equal((await browser.get('/v1/auth/verify')).status, 401)
    t.equal((await browser.post('/v1/auth/refresh')).status, 401)
    t.match(await service.browser().post('/v1/auth/login', { email, password }), { status: 403, body: { code: 'account_disabled' } })
    await waitUntil('another instance has heard of it', async () => (await elsewhere.get('/v1/auth/verify')).status === 401)
    t.match(await service.sql('select reason from revocations where subject = $1', [id]), [{ reason: 'account_disabled' }, { reason: 'account_disabled' }])
    await admin.patch(url(id), { status: 'active' })
    t.equal((await browser.post('/v1/auth/refresh')).status, 401, 'what ended stays ended')
    t.equal((await service.browser().post('/v1/auth/magic-link/confirm', { token })).status, 410, 'and so does what was mailed')
    t.equal((await service.browser().post('/v1/auth/login', { email, password })).status, 200)
  })

  await t.test('ends sessions, that are listed before', async t => {
    const { browser, id, email, password } = await signedIn(service)
    await service.browser().post('/v1/auth/login', { email, password }, { 'user-agent': 'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0' })
    const { body } = await admin.get(`${url(id)}/sessions`)
    t.match(body, { items: [{ browser: 'Firefox 140', system: 'Linux', methods: ['pwd'] }, { methods: ['pwd'] }], next_cursor: null })
    t.notOk('current' in body.items[0])
    const { body: first } = await admin.get(`${url(id)}/sessions?limit=1`)
    t.strictSame(ids(await admin.get(`${url(id)}/sessions?limit=1&cursor=${first.next_cursor}`)), [body.items[1].id])
    t.equal((await admin.delete(`${url(id)}/sessions`)).status, 204)
    t.equal((await browser.get('/v1/me')).status, 401)
    t.equal((await browser.post('/v1/auth/refresh')).status, 401)
    t.strictSame((await admin.get(`${url(id)}/sessions`)).body.items, [])
    const ends = await service.sql('select actor_id, detail from audit_events where user_id = $1 and type = $2', [id, 'session.ended'])
    t.strictSame(ends, [1, 2].map(() => ({ actor_id: adminId, detail: { reason: 'ended_by_admin' } })))
    t.equal((await admin.delete(`${url(id)}/sessions`)).status, 204, 'there may be none')
  })

  await t.test('never sets a password: it has a link mailed, which only its owner sees', async t => {
    const { browser, id, email, password } = await signedIn(service)
    const { status, text } = await admin.post(`${url(id)}/password-reset`)
    t.equal(status, 202)
    const { token } = await mailTo(service, email, 'password_reset')
    t.notOk(text.includes(token))
    t.equal((await browser.get('/v1/me')).status, 200, 'nothing has changed yet')
    t.match((await audited(service, id)).at(-1), { type: 'user.reset_requested', actor_id: adminId })
    t.equal((await browser.post('/v1/auth/password-reset/confirm', { token, new_password: 'entirely new phrase' })).status, 204)
    t.equal((await browser.post('/v1/auth/login', { email, password })).status, 401)
    t.equal((await browser.post('/v1/auth/login', { email, password: 'entirely new phrase' })).status, 200)
  })

  await t.test('that deletes a user leaves nobody signed in, and the address free', async t => {
    const { browser, id, email, password } = await signedIn(service)
    t.equal((await admin.delete(url(id))).status, 204)
    t.equal((await browser.get('/v1/auth/verify')).status, 401)
    t.equal((await browser.post('/v1/auth/refresh')).status, 401)
    t.equal((await admin.get(url(id))).status, 404)
    t.equal((await admin.delete(url(id))).status, 404)
    t.strictSame(await service.sql('select * from user_roles where canonical_email = $1', [email]), [])
    t.match((await audited(service, id)).at(-1), { type: 'user.deleted', actor_id: adminId })
    t.match(await browser.post('/v1/auth/register', { email, password }), { status: 201 })
  })
})

t.test('the last administrator', async t => {
  const [here, there] = await (async () => { const first = await build(t, configured); return [first, await build(t, configured, { url: first.url })] as const })()
  const url = (id: string) => `/v1/admin/users/${id}`
  const losses = {
    demoted: async (by: Browser, id: string) => await by.patch(url(id), { roles: ['user'] }),
    disabled: async (by: Browser, id: string) => await by.patch(url(id), { status: 'disabled' }),
    deleted: async (by: Browser, id: string) => await by.delete(url(id))
  }
  const names = ['demoted', 'disabled', 'deleted'] as const
  const admins = async () => (await here.sql("select id from users where 'admin' = any(roles) and disabled_at is null")).length
  const nobody = async () => await here.sql("update users set roles = '{user}'")

  await t.test('cannot be lost', async t => {
    const { browser, id } = await signedIn(here, 'admin')
    const disabled = await signedIn(here, 'admin')
    await browser.patch(url(disabled.id), { status: 'disabled' })
    for (const name of names) {
      t.match(await losses[name](browser, id), { status: 409, body: { code: 'last_admin' } }, name)
      t.match((await browser.get(url(id))).body, { roles: ['user', 'admin'], status: 'active' })
    }
    t.equal((await browser.patch(url(id), { roles: ['admin'], name: 'Last' })).status, 200, 'but changed otherwise')
    browser.accessToken = (await browser.post('/v1/auth/refresh')).body.access_token
    t.equal((await losses.deleted(browser, disabled.id)).status, 204, 'and who is disabled is none')
    const other = await signedIn(here, 'admin')
    t.equal((await losses.demoted(browser, id)).status, 200, 'nor where there is another one')
    t.match(await losses.disabled(other.browser, other.id), { status: 409 })
  })

  await t.test('of two who do away with each other at the same time is one of them', async t => {
    for (let round = 0; round < scale(30, 9); round++) {
      await nobody()
      const [one, other] = [await signedIn(here, 'admin'), await signedIn(there, 'admin')]
      const [first, second] = [names[round % 3] ?? 'demoted', names[Math.floor(round / 3) % 3] ?? 'demoted']
      const statuses = (await Promise.all([losses[first](one.browser, other.id), losses[second](other.browser, one.id)])).map(({ status }) => status)
      t.equal(await admins(), 1, `${first} and ${second}: ${statuses.join()}`)
      t.equal(statuses.filter(status => status < 300).length, 1, statuses.join())
      t.ok(statuses.every(status => [200, 204, 401, 403, 409].includes(status)), statuses.join())
    }
  })

  await t.test('of those who change more than one thing of each other is one, and none waits in vain', async t => {
    for (let round = 0; round < scale(10, 3); round++) {
      await nobody()
      const people = [await signedIn(here, 'admin'), await signedIn(there, 'admin'), await signedIn(here, 'admin')]
      const changes = [{ roles: ['user', 'admin', 'editor'], status: 'disabled' }, { roles: ['editor'], status: 'active' }, { roles: ['editor'], status: 'disabled', name: 'Gone' }]
      const answers = await Promise.all(people.flatMap(({ browser }, by) => people.filter((_, whom) => whom !== by).map(async ({ id }, index) => await browser.patch(url(id), changes[(round + by + index) % 3]))))
      // Whoever waits for the others for more than a quarter of a second is told to come back.
      t.ok(answers.every(({ status, headers }) => [200, 401, 403, 409].includes(status) || headers['retry-after'] === '1'), answers.map(({ status }) => status).join())
      t.ok(await admins() >= 1)
    }
  })

  await t.test('is no matter of a change that waits for another, and that for it', async t => {
    await nobody()
    // In the order in which they are locked.
    const [lower, upper, actor] = [await signedIn(here, 'admin'), await signedIn(here, 'admin'), await signedIn(here, 'admin')]
    const db = connect({ url: here.url })
    t.teardown(() => db.end())
    let answered = 0
    const waiting = async (count: number) => await waitUntil(`${count} wait`, async () =>
      (await here.sql("select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'")).length + answered >= count)
    const changes = await db.transaction(async tx => {
      await tx.query('select from users where id = $1 for update', [lower.id])
      const first = losses.disabled(actor.browser, lower.id).finally(() => { answered++ })
      await waiting(1)
      const second = actor.browser.patch(url(upper.id), { roles: ['user', 'admin', 'editor'], status: 'disabled' }).finally(() => { answered++ })
      await waiting(2)
      return [first, second]
    })
    // They wait no longer than a quarter of a second, which may be over; but neither ends in a deadlock.
    for (const { status, headers } of await Promise.all(changes)) t.ok(status === 200 || headers['retry-after'] === '1', String(status))
    t.notMatch(JSON.stringify(here.logs), /40P01/)
  })

  await t.test('stays, whoever does whatever to whom', async t => {
    await fc.assert(fc.asyncProperty(
      fc.array(fc.tuple(fc.constantFrom(...names, 'promoted' as const), fc.nat(3), fc.nat(3)), { minLength: 2, maxLength: 10 }),
      async steps => {
        await nobody()
        const people = [await signedIn(here, 'admin'), await signedIn(there, 'admin'), await signedIn(here, 'admin'), await signedIn(there)]
        const answers = await Promise.all(steps.map(async ([what, by, whom]) => {
          const [actor, target] = [people[by], people[whom]]
          if (!actor || !target) throw new Error('nobody')
          return what === 'promoted' ? await actor.browser.patch(url(target.id), { roles: ['user', 'admin'] }) : await losses[what](actor.browser, target.id)
        }))
        t.ok(await admins() >= 1)
        t.ok(answers.every(({ status, headers }) => [200, 204, 401, 403, 404, 409].includes(status) || headers['retry-after'] === '1'), answers.map(({ status }) => status).join())
      }
    ), { numRuns: scale(10, 4) })
  })
})

t.test('the audit log', async t => {
  const service = await build(t, configured)
  const { browser: admin, id: adminId } = await signedIn(service, 'admin')
  const { id, email } = await signedIn(service)
  const log = '/v1/admin/audit-events'

  await t.test('is read by user, actor, type and time', async t => {
    await service.browser().post('/v1/auth/login', { email, password: 'wrong password' }, { 'user-agent': 'Odd/1.0', 'x-request-id': 'odd-request' })
    await admin.patch(`/v1/admin/users/${id}`, { roles: ['editor'] })
    const { body } = await admin.get(`${log}?user_id=${id}`)
    t.strictSame(body.items.map(({ type }: { type: string }) => type), ['user.roles_changed', 'login.failed', 'login.succeeded', 'user.registered'], 'the newest first')
    t.match(body.items[0], { user_id: id, actor_id: adminId, client_id: null, session_id: null, ip: '127.0.0.1', detail: { from: ['user'], to: ['editor'] } })
    t.match(body.items[1], { user_id: id, actor_id: null, user_agent: 'Odd/1.0', request_id: 'odd-request', detail: { reason: 'wrong_password' } })
    t.strictSame((await admin.get(`${log}?type=login.failed`)).body.items, [body.items[1]])
    t.strictSame((await admin.get(`${log}?type=login.failed&user_id=${id}`)).body.items, [body.items[1]])
    t.strictSame((await admin.get(`${log}?type=login.failed&user_id=${adminId}`)).body.items, [])
    t.strictSame((await admin.get(`${log}?actor_id=${adminId}&user_id=${id}`)).body.items, [body.items[0]])
    t.strictSame((await everything(admin, `${log}?actor_id=${id}`)).map(({ type }) => type), ['login.succeeded', 'user.registered'], 'also what is about whoever did it')
    t.strictSame((await admin.get(`${log}?actor_id=${id}&type=login.succeeded`)).body.items, [body.items[2]])
    t.strictSame((await admin.get(`${log}?actor_id=${randomUUID()}`)).body.items, [])
    t.match(await admin.get(`${log}?actor_id=ada`), { status: 400, body: { errors: [{ pointer: '/actor_id' }] } })
    t.strictSame((await everything(admin, log)).length, Number((await service.sql<{ count: string }>('select count(*) from audit_events'))[0]?.count))
  })

  await t.test('is in order, also of what happens in one moment', async t => {
    const events = await service.sql<{ id: string }>('select uuid_v7() as id from generate_series(1, 200)')
    t.ok(events.every(({ id }) => /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.test(id)))
    t.ok(events.every(({ id }) => Math.abs(Number.parseInt(id.replace('-', '').slice(0, 12), 16) - Date.now()) < 60_000), 'by the clock')
    await service.sql("do $$ begin for i in 1..50 loop insert into audit_events (type, detail) values ('key.rotated', jsonb_build_object('i', i)); end loop; end $$")
    t.strictSame((await everything(admin, `${log}?type=key.rotated`)).map(({ detail }) => Object(detail).i), Array.from({ length: 50 }, (_, index) => 50 - index))
  })

  await t.test('has what happened from a time on, and before another, in pages', async t => {
    const user = randomUUID()
    await service.sql(`insert into audit_events (id, type, user_id, created_at, detail)
      select (lpad(to_hex((extract(epoch from at) * 1000)::bigint + 5), 12, '0') || '7000' || substr(replace(gen_random_uuid()::text, '-', ''), 17))::uuid, 'login.succeeded', $1, at, jsonb_build_object('i', i)
      from generate_series(0, 59) as i, lateral (select timestamptz '2026-01-01T00:00:00Z' + i * interval '1 s' as at) as moment`, [user])
    const numbers = async (query: string) => (await everything(admin, `${log}?user_id=${user}${query}`)).map(({ detail }) => Number(Object(detail).i))
    const down = (from: number, to: number) => Array.from({ length: from - to + 1 }, (_, index) => from - index)
    t.strictSame(await numbers(''), down(59, 0))
    t.strictSame(await numbers('&since=2026-01-01T00:00:10Z&until=2026-01-01T00:00:20Z'), down(19, 10))
    t.strictSame(await numbers('&since=2026-01-01T01:00:10.5%2B01:00&type=login.succeeded'), down(59, 11))
    t.strictSame(await numbers('&until=2026-01-01T00:00:03.001Z'), down(3, 0))
    t.strictSame(await numbers('&since=2026-01-01T00:00:20Z&until=2026-01-01T00:00:10Z'), [])
    t.strictSame(await numbers('&type=login.failed'), [])
  })

  await t.test('is read by index, whatever is asked', async t => {
    const [rare, busy] = [randomUUID(), randomUUID()]
    await service.sql(`
      insert into audit_events (type, user_id, actor_id)
      select case when i % 1000 = 0 then 'key.rotated' else 'login.succeeded' end, case when i % 400 = 0 then $1 else gen_random_uuid() end, case when i % 2 = 0 then $2 when i % 400 = 1 then $1 else gen_random_uuid() end
      from generate_series(1, 20000) as i`, [rare, busy])
    await service.sql('analyze audit_events')
    const { list } = await import('../../src/audit/query.ts')
    const since = new Date(Date.now() - 3_600_000)
    for (const filter of [{}, { userId: rare }, { type: 'key.rotated' }, { type: 'login.failed' }, { userId: rare, type: 'login.succeeded' }, { actorId: rare }, { actorId: busy }, { actorId: rare, type: 'login.succeeded' }, { actorId: busy, type: 'key.rotated' }, { actorId: busy, userId: rare }, { actorId: rare, until: since }, { since }, { until: since }, { type: 'login.succeeded', until: since }] as const) {
      let plan = ''
      await list({
        publish () {},
        query: async (statement, values = []) => {
          const bound = String(statement).replaceAll(/\$(\d)/g, (_, index) => { const value = values[Number(index) - 1]; return typeof value === 'number' ? String(value) : `'${String(value)}'` })
          plan = (await service.sql<{ 'QUERY PLAN': string }>(`explain (analyze, costs off) ${bound}`)).map(row => row['QUERY PLAN']).join('\n')
          return []
        }
      }, filter, { before: undefined, limit: 21 })
      t.notMatch(plan, /Seq Scan/, JSON.stringify(filter))
      const [, removed = '0'] = /Rows Removed by Filter: (\d+)/.exec(plan) ?? []
      t.ok(Number(removed) <= 60, `${JSON.stringify(filter)} ${plan}`)
    }
  })
})
