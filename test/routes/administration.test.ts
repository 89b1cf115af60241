import { randomUUID } from 'node:crypto'
import fc from 'fast-check'
import { connect } from '../../src/database/database.ts'
import type { Answer, Browser } from '../support/client.ts'
import { build, newUser, type Service } from '../support/app.ts'
import { mailTo } from '../support/inbox.ts'
import { waitUntil } from '../support/polling.ts'
import { registerUser } from '../support/registered-user.ts'
import { repeatUnavailable } from '../support/repetition.ts'
import { scale } from '../support/soak.ts'
import { t } from '../support/test.ts'

const usersPath = '/v1/admin/users'
const userPath = (id: string) => `${usersPath}/${id}`
const auditPath = '/v1/admin/audit-events'

const settings = { ROLES: 'editor,support' }

const idsIn = ({ body }: Answer): string[] => body.items.map(({ id }: { id: string }) => id)
const addressesIn = ({ body }: Answer): string[] => body.items.map(({ email }: { email: string }) => email)
const typesIn = ({ body }: Answer): string[] => body.items.map(({ type }: { type: string }) => type)
const describeStatuses = (answers: Answer[]) => answers.map(({ status }) => status).join()

/** Reads all pages of a list. */
async function readAllPages (browser: Browser, url: string): Promise<Array<Record<string, unknown>>> {
  const items = []
  const separator = url.includes('?') ? '&' : '?'
  for (let cursor: string | null = ''; cursor !== null;) {
    const { body } = await browser.get(`${url}${separator}limit=7${cursor && `&cursor=${cursor}`}`)
    items.push(...body.items)
    cursor = body.next_cursor
  }
  return items
}

const auditEventsOf = async (service: Service, userId: string) =>
  await service.sql<{ type: string, actor_id: string, detail: object }>(`
    select type, actor_id, detail from audit_events
    where user_id = $1 and type like 'user.%' order by id`, [userId])

/** The statement with its values in place of `$n`, for a plan that shows them. */
const bindValues = (statement: string, values: readonly unknown[] = []) =>
  statement.replaceAll(/\$(\d)/g, (_, index) => {
    const value = values[Number(index) - 1]
    return value === null || typeof value === 'number' ? String(value) : `'${String(value)}'`
  })

/** A database that does not run a statement, but keeps its plan. `options` are those of `explain`. */
function planRecorder (service: Service, options: string) {
  const recorder = {
    plan: '',
    publish () {},
    query: async (statement: string | { text: string }, values?: readonly unknown[]) => {
      const bound = bindValues(typeof statement === 'string' ? statement : statement.text, values)
      const rows = await service.sql<{ 'QUERY PLAN': string }>(`explain (${options}) ${bound}`)
      recorder.plan = rows.map(row => row['QUERY PLAN']).join('\n')
      return []
    }
  }
  return recorder
}

t.test('the routes for users and the audit log', async t => {
  const service = await build(t, settings)
  const admin = await registerUser(service, 'admin')
  const { id } = await registerUser(service)
  const routes = [
    ['GET', usersPath],
    ['POST', usersPath, newUser()],
    ['GET', userPath(id)],
    ['PATCH', userPath(id), { roles: ['admin'] }],
    ['DELETE', userPath(id)],
    ['GET', `${userPath(id)}/sessions`],
    ['DELETE', `${userPath(id)}/sessions`],
    ['POST', `${userPath(id)}/password-reset`],
    ['GET', auditPath]
  ] as const
  const expectStatus = async (browser: Browser, status: number) => {
    for (const [method, url, body] of routes) {
      t.equal((await browser.send(method, url, body)).status, status, `${method} ${url}`)
    }
  }

  await t.test('are only for users who are administrators at the time of the request', async () => {
    await expectStatus(service.browser(), 401)
    await expectStatus((await registerUser(service, 'administrator')).browser, 403)
    const demoted = await registerUser(service, 'admin')
    t.equal((await demoted.browser.get(usersPath)).status, 200)
    t.equal((await admin.browser.patch(userPath(demoted.id), { roles: ['user'] })).status, 200)
    await expectStatus(demoted.browser, 401)
    demoted.browser.accessToken = (await demoted.browser.post('/v1/auth/refresh')).body.access_token
    await expectStatus(demoted.browser, 403)
    // No revocation tells the service of a change that is made with SQL.
    const demotedWithSql = await registerUser(service, 'admin')
    await service.sql("update users set roles = '{user}' where id = $1", [demotedWithSql.id])
    await expectStatus(demotedWithSql.browser, 403)
  })

  await t.test('answer 404 for an unknown id, and 400 for a malformed one', async t => {
    for (const [method, url, body] of routes.filter(([, url]) => url.includes(id))) {
      const send = async (otherId: string) => await admin.browser.send(method, url.replace(id, otherId), body)
      t.match(await send(randomUUID()), { status: 404, body: { code: 'not_found' } }, `${method} ${url}`)
      for (const malformed of ['1', `${randomUUID()}%00`, `urn:uuid:${randomUUID()}`]) {
        t.equal((await send(malformed)).status, 400, `${method} ${url} ${malformed}`)
      }
    }
  })

  await t.test('answer invalid queries and changes with 400, and unusual ones with 200', async t => {
    const base64url = (text: string) => Buffer.from(text).toString('base64url')
    const emails = ['', '%00', 'a%00', 'x'.repeat(321), '%0a'].map(email => `users?email=${email}`)
    const cursors = [
      '', 'x', '%00', '=', 'YQ==', 'a'.repeat(1025), base64url('no address'), base64url('a\0@example.com'),
      `${base64url('a@example.com')}A`, randomUUID()
    ].map(cursor => `users?cursor=${cursor}`)
    const invalidQueries = [
      ...emails, ...cursors,
      'users?role=', 'users?role=%00', 'users?status=gone', 'users?limit=0', 'users?limit=101', 'users?odd=1',
      'audit-events?user_id=1', 'audit-events?type=odd', 'audit-events?since=yesterday',
      'audit-events?until=2026-02-30T00:00:00Z', 'audit-events?since=2016-12-31T23:59:60Z',
      'audit-events?cursor=x', `audit-events?cursor=urn:uuid:${randomUUID()}`
    ]
    const invalid = { status: 400, body: { code: 'validation_failed' } }
    for (const query of invalidQueries) t.match(await admin.browser.get(`/v1/admin/${query}`), invalid, query)

    for (const time of ['2026-11-22T09:00:00+01:00', '2026-11-22T09:00:00%2B01:00']) {
      const { status } = await admin.browser.get(`${auditPath}?since=${time}`)
      t.equal(status, 200, `an offset: ${time}`)
    }

    const unusualEmails = [
      '%25', '_', '%5c', "'", '%c3%28', '%f4%8f%bf%bf', '%ef%b7%ba'.repeat(50), 'x'.repeat(320),
      '%F0%9F%98%80', '@', 'ada@m%C3%BCnchen.example'
    ]
    for (const email of unusualEmails) {
      const answer = await admin.browser.get(`${usersPath}?email=${email}`)
      t.match(answer, { status: 200, body: { items: [] } }, email)
    }
    for (const time of ['0000-01-01T00:00:00Z', '0001-01-01T00:00:00Z', '9999-12-31T23:59:59.999999999Z']) {
      for (const bound of ['since', 'until']) {
        const { status } = await admin.browser.get(`${auditPath}?${bound}=${time}`)
        t.equal(status, 200, `${bound} ${time}`)
      }
    }
    const invalidChanges = [
      { password: 'correct horse battery' }, { email: 'a@b.example' },
      { roles: 'admin' }, { roles: ['Admin'] }, { roles: [''] }, { roles: ['a b'] }, { roles: [null] },
      { roles: ['x'.repeat(65)] }, { roles: Array.from({ length: 51 }, (_, index) => `r${index}`) },
      { status: 'deleted' }, { status: null }, { email_verified: 'yes' },
      { username: 'no such thing' }, { name: '' }, { name: 'a\u0000' }
    ]
    for (const change of invalidChanges) {
      t.match(await admin.browser.patch(userPath(id), change), { status: 400 }, JSON.stringify(change))
    }
  })
})

t.test('the list of users', async t => {
  const service = await build(t, settings)
  const { browser, id: adminId } = await registerUser(service, 'admin')
  const insertUser = async (email: string, { roles = ['user'], disabled = false } = {}) => {
    await service.sql(`
      insert into users (id, email, canonical_email, roles, disabled_at)
      values ($1, $2, lower($2), $3, case when $4 then now() end)`, [randomUUID(), email, roles, disabled])
  }
  const listAddresses = async (query: string) => addressesIn(await browser.get(`${usersPath}?${query}`))

  await t.test('is filtered by the beginning of the address, without wildcards', async t => {
    const names = ['b_b', 'bxb', 'b%b', 'b.b', 'B+b', 'bb', 'é']
    for (const name of names) await insertUser(`${name}@list.example`)
    t.strictSame(await listAddresses('email=b_'), ['b_b@list.example'])
    t.strictSame(await listAddresses('email=b%25'), ['b%b@list.example'])
    t.strictSame(await listAddresses('email=%20B%2BB@LIST'), ['B+b@list.example'], 'in any case')
    t.strictSame(
      await listAddresses('email=b+b@list.example'),
      ['B+b@list.example'],
      'with a plus sign as it is'
    )
    t.strictSame(await listAddresses('email=b+'), ['B+b@list.example'])
    t.strictSame(await listAddresses('email=bb@list.example%20'), ['bb@list.example'], 'a space at the end')
    t.strictSame(await listAddresses('email=bb@list.example'), ['bb@list.example'], 'a whole address')
    t.strictSame(await listAddresses('email=e%CC%81'), ['é@list.example'], 'in any Unicode form')
    const inOrder = ['b%b', 'B+b', 'b.b', 'b_b', 'bb', 'bxb'].map(name => `${name}@list.example`)
    t.strictSame(await listAddresses('email=b'), inOrder, 'in the order of code points')
    t.strictSame(await listAddresses('email=c'), [])
  })

  await t.test('has each user once over its pages, with any combination of filters', async t => {
    const usersArbitrary = fc.uniqueArray(fc.record({
      name: fc.stringMatching(/^[abc_]{1,3}$/),
      roles: fc.uniqueArray(fc.constantFrom('user', 'editor', 'support')),
      disabled: fc.boolean()
    }), { selector: ({ name }) => name, maxLength: 30 })
    const filterArbitrary = fc.record({
      email: fc.constantFrom('', 'a', 'ab', '_', 'c'),
      role: fc.constantFrom('', 'user', 'editor', 'support'),
      status: fc.constantFrom('', 'active', 'disabled')
    })
    await fc.assert(fc.asyncProperty(usersArbitrary, filterArbitrary, async (users, filter) => {
      await service.sql('delete from users where id <> $1', [adminId])
      for (const { name, ...attributes } of users) await insertUser(`${name}@z.example`, attributes)
      const query = Object.entries(filter)
        .filter(([, value]) => value !== '')
        .map(pair => pair.join('='))
        .join('&')
      const listed = (await readAllPages(browser, `${usersPath}?${query}`))
        .filter(({ id }) => id !== adminId)
        .map(({ email, roles, status }) => ({ email, roles, status }))
      const expected = users
        .map(({ name, roles, disabled }) =>
          ({ email: `${name}@z.example`, roles, status: disabled ? 'disabled' : 'active' }))
        .filter(({ email }) => email.startsWith(filter.email))
        .filter(({ roles }) => !filter.role || roles.includes(filter.role))
        .filter(({ status }) => !filter.status || status === filter.status)
        .sort((one, other) => one.email < other.email ? -1 : 1)
      t.strictSame(listed, expected)
    }), { numRuns: scale(40, 12) })
  })

  await t.test('continues after an address whose lower case is longer than an address may be', async t => {
    const domain = Array(4).fill('d'.repeat(60)).join('.')
    const emails = [
      `${'İ'.repeat(32)}@list.example`, `${'ẞ'.repeat(21)}@list.example`, `İİ@${domain}.example`
    ]
    for (const email of emails) {
      t.match(await service.browser().post('/v1/auth/register', { ...newUser(), email }), { status: 201 })
    }
    for (const email of emails) {
      const prefix = encodeURIComponent(email.slice(0, -1))
      const answer = await browser.get(`${usersPath}?limit=1&email=${prefix}`)
      t.match(answer, { status: 200, body: { items: [{ email }] } })
    }
    let count = 0
    for (let cursor: string | null = ''; cursor !== null; count++) {
      const url = `${usersPath}?limit=1${cursor && `&cursor=${cursor}`}`
      const { status, body }: Answer = await browser.get(url)
      t.equal(status, 200)
      cursor = body.next_cursor
    }
    t.equal(count, (await service.sql('select 1 from users')).length)
  })

  await t.test('continues at its cursor if users are added, changed and deleted meanwhile', async t => {
    await service.sql('delete from users where id <> $1', [adminId])
    for (const name of ['a', 'b', 'c', 'd', 'e']) {
      await insertUser(`${name}@way.example`, { roles: ['walker'] })
    }
    const first = await browser.get(`${usersPath}?role=walker&limit=2`)
    await service.sql("delete from users where email in ('b@way.example', 'd@way.example')")
    await insertUser('aa@way.example', { roles: ['walker'] })
    await insertUser('ca@way.example', { roles: ['walker', 'walker'] })
    await service.sql("update users set disabled_at = now() where email = 'e@way.example'")
    t.strictSame(addressesIn(first), ['a@way.example', 'b@way.example'])
    const second = await listAddresses(`role=walker&cursor=${first.body.next_cursor}`)
    t.strictSame(second, ['c@way.example', 'ca@way.example', 'e@way.example'])
    t.strictSame(await listAddresses('role=walker&status=disabled'), ['e@way.example'])
    await service.sql(`
      update users set
        email = 'x@way.example', canonical_email = 'x@way.example', roles = '{runner}', disabled_at = null
      where email = 'e@way.example'`)
    t.strictSame(await listAddresses('role=walker&status=disabled'), [])
    t.strictSame(await listAddresses('role=runner'), ['x@way.example'])
  })

  await t.test('scans about as many rows as it returns, of 20,000', async t => {
    await service.sql(`
      insert into users (id, email, canonical_email, roles, disabled_at)
      select
        gen_random_uuid(), address, address,
        case when i % 2 = 0 then '{user,even}' else '{user,odd}' end::text[],
        case when i > 19000 then now() end
      from
        generate_series(1, 20000) as i,
        lateral (select format('person-%s@many.example', lpad(i::text, 5, '0')) as address) as named`)
    await service.sql('analyze users, user_roles')
    const { list } = await import('../../src/users/listing.ts')
    const filters = [
      {}, { status: 'active' }, { status: 'disabled' },
      { role: 'odd' }, { role: 'user', status: 'disabled' }, { role: 'nobody' },
      { email: 'person-1' }, { email: 'person-19999@' }, { email: 'zzz' },
      { email: 'person', role: 'even', status: 'disabled' }
    ] as const
    for (const filter of filters) {
      for (const after of [undefined, 'person-18000@many.example']) {
        const recorder = planRecorder(service, 'analyze, buffers, costs off')
        await list(recorder, filter, { after, limit: 21 })
        const { plan } = recorder
        const scanned = [...plan.matchAll(/rows=(\d+)(?:\.\d+)? loops=(\d+)/g)]
          .map(([, rows, loops]) => Number(rows) * Number(loops))
        t.notMatch(plan, /Seq Scan on (users|user_roles)/, JSON.stringify(filter))
        t.notMatch(plan, /Rows Removed by Filter/, JSON.stringify(filter))
        const isShort = scanned.length > 0 && Math.max(...scanned) <= 42
        t.ok(isShort, `${JSON.stringify({ ...filter, after })}: ${plan}`)
      }
    }
  })
})

t.test('an account that an administrator creates', async t => {
  const service = await build(t, settings)
  const { browser: admin, id: adminId } = await registerUser(service, 'admin')

  await t.test('with a password can sign in at once', async t => {
    const { email, password } = newUser()
    const { status, body } = await admin.post(usersPath, {
      email,
      password,
      name: 'Ada',
      username: 'Ada.L',
      roles: ['user', 'editor', 'editor'],
      email_verified: true
    })
    t.equal(status, 201)
    t.match(body, {
      email, name: 'Ada', username: 'ada.l', roles: ['user', 'editor'], status: 'active', email_verified: true
    })
    t.notMatch(JSON.stringify(body), /password|hash/)
    t.strictSame((await admin.get(userPath(body.id))).body, body)
    t.strictSame(await auditEventsOf(service, body.id), [
      { type: 'user.registered', actor_id: adminId, detail: { invited: false } },
      { type: 'user.verified', actor_id: adminId, detail: {} },
      { type: 'user.roles_changed', actor_id: adminId, detail: { from: ['user'], to: ['user', 'editor'] } }
    ])
    t.match(await service.browser().post('/v1/auth/login', { username: 'ada.l', password }), {
      status: 200, body: { user: { roles: ['user', 'editor'] } }
    })
    t.match(await admin.post(usersPath, { ...newUser(), email: email.toUpperCase() }), {
      status: 409, body: { code: 'email_taken' }
    })
    t.match(await admin.post(usersPath, { ...newUser(), username: 'ADA.l' }), {
      status: 409, body: { code: 'username_taken' }
    })
  })

  await t.test('is subject to the password policy of a registration', async t => {
    const { email } = newUser()
    const rejections = [
      ['short', 'too_short'], ['password1234', 'too_common'], [`${email} and more`, 'contains_email']
    ]
    for (const [password, reason] of rejections) {
      t.match(await admin.post(usersPath, { email, password }), {
        status: 422, body: { code: 'password_rejected', reasons: [reason] }
      })
    }
    const invalidBodies = [
      { email: 'nothing' }, {}, { email, password: '' }, { email, password: null },
      { email, username: 'a' }, { email, status: 'disabled' }, { email, id: randomUUID() }
    ]
    for (const body of invalidBodies) {
      t.equal((await admin.post(usersPath, body)).status, 400, JSON.stringify(body))
    }
    t.strictSame((await admin.get(`${usersPath}?email=${email}`)).body.items, [], 'no account was created')
  })

  await t.test('without a password invites its owner to set one', async t => {
    const { email, password } = newUser()
    const { body } = await admin.post(usersPath, { email, roles: ['support'] })
    t.match(body, { email_verified: false, roles: ['support'] })
    t.equal((await service.browser().post('/v1/auth/login', { email, password })).status, 401)
    const { token } = await mailTo(service, email, 'invitation')
    const [link] = await service.sql<{ hours: number }>(`
      select round(extract(epoch from expires_at - created_at) / 3600)::int as hours
      from one_time_tokens where user_id = $1`, [body.id])
    t.strictSame(link, { hours: 24 })
    const browser = service.browser()
    const setPassword = async (newPassword: string) =>
      await browser.post('/v1/auth/password-reset/confirm', { token, new_password: newPassword })
    t.match(await setPassword('short'), { status: 422 })
    t.equal((await setPassword(password)).status, 204)
    t.match(await setPassword(password), { status: 410 }, 'the link works once')
    t.match(await browser.post('/v1/auth/login', { email, password }), {
      status: 200, body: { user: { roles: ['support'], email_verified: true } }
    })
  })

  await t.test('is created once by concurrent requests for one address', async t => {
    const { email } = newUser()
    const requests = Array.from({ length: 8 }, async () =>
      (await repeatUnavailable(async () => await admin.post(usersPath, { email }))).status)
    t.strictSame((await Promise.all(requests)).sort(), [201, 409, 409, 409, 409, 409, 409, 409])
  })
})

t.test('the external id of a user', async t => {
  const service = await build(t)
  const { browser: admin, id } = await registerUser(service, 'admin')
  const externalId = 'auth0|5f7c8ec7c33c6c004bbafe82'

  await t.test('is set and cleared by an administrator, and belongs to one user', async t => {
    const { status, body } = await admin.post(usersPath, { ...newUser(), external_id: externalId })
    t.match({ status, body }, { status: 201, body: { external_id: externalId } })
    t.match(await admin.post(usersPath, { ...newUser(), external_id: externalId }), {
      status: 409, body: { code: 'external_id_taken' }
    })
    t.match(await admin.patch(userPath(id), { external_id: externalId }), {
      status: 409, body: { code: 'external_id_taken' }
    })
    t.match(
      await admin.patch(userPath(id), { external_id: 'own' }),
      { status: 200, body: { external_id: 'own' } }
    )
    t.match(
      await admin.patch(userPath(id), { external_id: null }),
      { status: 200, body: { external_id: null } }
    )
    t.match(await admin.patch(userPath(id), { external_id: '' }), { status: 400 })
    const events = await service.sql(
      "select detail from audit_events where user_id = $1 and type = 'user.updated'", [id])
    t.strictSame(events, Array(2).fill({ detail: { changed: ['external_id'] } }))
  })

  await t.test('finds the user', async t => {
    const found = async (query: string) =>
      (await readAllPages(admin, `${usersPath}?${query}`)).map(user => user['external_id'])
    const filter = `external_id=${encodeURIComponent(externalId)}`
    t.strictSame(await found(filter), [externalId])
    t.strictSame(await found(`${filter}&status=active&role=user`), [externalId])
    t.strictSame(await found(`${filter}&status=disabled`), [])
    t.strictSame(await found(`${filter}&role=admin`), [])
    t.strictSame(await found(`${filter}&email=nobody`), [])
    t.strictSame(await found('external_id=another'), [])
  })

  await t.test('is in the personal data of the user', async t => {
    await admin.patch(userPath(id), { external_id: 'own' })
    t.equal((await admin.get('/v1/me/export')).body.user.external_id, 'own')
  })
})

t.test('a change by an administrator', async t => {
  const service = await build(t, settings)
  const { browser: admin, id: adminId } = await registerUser(service, 'admin')

  await t.test('alters only the given fields, and has an audit event for each fact', async t => {
    const { id } = await registerUser(service)
    const { body: before } = await admin.get(userPath(id))
    t.strictSame((await admin.patch(userPath(id), {})).body, before)
    const { status, body } = await admin.patch(userPath(id), {
      name: 'Grace', username: 'Grace', roles: ['user', 'editor'], status: 'disabled', email_verified: true
    })
    t.equal(status, 200)
    t.match(body, {
      name: 'Grace', username: 'grace', roles: ['user', 'editor'], status: 'disabled', email_verified: true
    })
    const eventsAfterRegistration = async () => (await auditEventsOf(service, id)).slice(1)
    const expected = [
      { type: 'user.disabled', actor_id: adminId, detail: {} },
      { type: 'user.roles_changed', actor_id: adminId, detail: { from: ['user'], to: ['user', 'editor'] } },
      { type: 'user.updated', actor_id: adminId, detail: { changed: ['name', 'username'] } },
      { type: 'user.verified', actor_id: adminId, detail: {} }
    ]
    t.strictSame(await eventsAfterRegistration(), expected)
    const repeated = await admin.patch(userPath(id), {
      name: 'Grace', username: 'GRACE', roles: ['editor', 'user'], status: 'disabled', email_verified: true
    })
    t.strictSame(repeated.body, body)
    t.strictSame(await eventsAfterRegistration(), expected, 'a value that does not change has no event')
    const reverted = await admin.patch(userPath(id), { status: 'active', email_verified: false, name: null })
    t.match(reverted.body, { status: 'active', email_verified: false, name: null, username: 'grace' })
    const types = (await eventsAfterRegistration()).slice(4).map(({ type }) => type)
    t.strictSame(types, ['user.enabled', 'user.updated', 'user.updated'])
  })

  await t.test('is atomic', async t => {
    const [ada, bob] = [await registerUser(service), await registerUser(service)]
    await admin.patch(userPath(ada.id), { username: 'taken' })
    const { body: before } = await admin.get(userPath(bob.id))
    const change = { username: 'TAKEN', roles: ['editor'], status: 'disabled' }
    t.match(await admin.patch(userPath(bob.id), change), { status: 409, body: { code: 'username_taken' } })
    t.strictSame((await admin.get(userPath(bob.id))).body, before)
    t.equal((await bob.browser.get('/v1/me')).status, 200)
  })

  await t.test('that disables a user ends their sessions on all instances, and deletes nothing', async t => {
    const secondInstance = await build(t, settings, { url: service.url })
    const { browser, id, email, password } = await registerUser(service)
    await service.browser().post('/v1/auth/login', { email, password })
    const secondBrowser = secondInstance.browser()
    secondBrowser.accessToken = browser.accessToken
    t.equal((await secondBrowser.get('/v1/me')).status, 200)
    t.equal((await service.browser().post('/v1/auth/magic-link', { email })).status, 202)
    const { token } = await mailTo(service, email, 'magic_link')
    await admin.patch(userPath(id), { status: 'disabled' })
    t.equal((await browser.get('/v1/auth/verify')).status, 401)
    t.equal((await browser.post('/v1/auth/refresh')).status, 401)
    t.match(await service.browser().post('/v1/auth/login', { email, password }), {
      status: 403, body: { code: 'account_disabled' }
    })
    await waitUntil('the second instance has read the revocation', async () =>
      (await secondBrowser.get('/v1/auth/verify')).status === 401)
    const revocations = await service.sql('select reason from revocations where subject = $1', [id])
    t.match(revocations, [{ reason: 'account_disabled' }, { reason: 'account_disabled' }])
    await admin.patch(userPath(id), { status: 'active' })
    t.equal((await browser.post('/v1/auth/refresh')).status, 401, 'ended sessions stay ended')
    const magicLink = await service.browser().post('/v1/auth/magic-link/confirm', { token })
    t.equal(magicLink.status, 410, 'mailed links stay invalid')
    t.equal((await service.browser().post('/v1/auth/login', { email, password })).status, 200)
  })

  await t.test('ends the sessions of a user, which it can list', async t => {
    const { browser, id, email, password } = await registerUser(service)
    const sessionsPath = `${userPath(id)}/sessions`
    const userAgent = 'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0'
    await service.browser().post('/v1/auth/login', { email, password }, { 'user-agent': userAgent })
    const { body } = await admin.get(sessionsPath)
    t.match(body, {
      items: [{ browser: 'Firefox 140', system: 'Linux', methods: ['pwd'] }, { methods: ['pwd'] }],
      next_cursor: null
    })
    t.notOk('current' in body.items[0])
    const { body: firstPage } = await admin.get(`${sessionsPath}?limit=1`)
    const secondPage = await admin.get(`${sessionsPath}?limit=1&cursor=${firstPage.next_cursor}`)
    t.strictSame(idsIn(secondPage), [body.items[1].id])
    t.equal((await admin.delete(sessionsPath)).status, 204)
    t.equal((await browser.get('/v1/me')).status, 401)
    t.equal((await browser.post('/v1/auth/refresh')).status, 401)
    t.strictSame((await admin.get(sessionsPath)).body.items, [])
    const events = await service.sql(
      "select actor_id, detail from audit_events where user_id = $1 and type = 'session.ended'", [id])
    const ended = { actor_id: adminId, detail: { reason: 'ended_by_admin' } }
    t.strictSame(events, [ended, ended])
    t.equal((await admin.delete(sessionsPath)).status, 204, 'a user without sessions')
  })

  await t.test('mails a reset link, which only its owner sees, and never sets a password', async t => {
    const { browser, id, email, password } = await registerUser(service)
    const newPassword = 'entirely new phrase'
    const { status, text } = await admin.post(`${userPath(id)}/password-reset`)
    t.equal(status, 202)
    const { token } = await mailTo(service, email, 'password_reset')
    t.notOk(text.includes(token))
    t.equal((await browser.get('/v1/me')).status, 200, 'nothing has changed yet')
    t.match((await auditEventsOf(service, id)).at(-1), { type: 'user.reset_requested', actor_id: adminId })
    const reset = await browser.post('/v1/auth/password-reset/confirm', { token, new_password: newPassword })
    t.equal(reset.status, 204)
    t.equal((await browser.post('/v1/auth/login', { email, password })).status, 401)
    t.equal((await browser.post('/v1/auth/login', { email, password: newPassword })).status, 200)
  })

  await t.test('that deletes a user ends their sessions and frees their address', async t => {
    const { browser, id, email, password } = await registerUser(service)
    t.equal((await admin.delete(userPath(id))).status, 204)
    t.equal((await browser.get('/v1/auth/verify')).status, 401)
    t.equal((await browser.post('/v1/auth/refresh')).status, 401)
    t.equal((await admin.get(userPath(id))).status, 404)
    t.equal((await admin.delete(userPath(id))).status, 404)
    t.strictSame(await service.sql('select * from user_roles where canonical_email = $1', [email]), [])
    t.match((await auditEventsOf(service, id)).at(-1), { type: 'user.deleted', actor_id: adminId })
    t.match(await browser.post('/v1/auth/register', { email, password }), { status: 201 })
  })
})

t.test('the last administrator', async t => {
  const service = await build(t, settings)
  const secondInstance = await build(t, settings, { url: service.url })
  const losses = {
    demotion: async (by: Browser, id: string) => await by.patch(userPath(id), { roles: ['user'] }),
    disabling: async (by: Browser, id: string) => await by.patch(userPath(id), { status: 'disabled' }),
    deletion: async (by: Browser, id: string) => await by.delete(userPath(id))
  }
  const lossNames = ['demotion', 'disabling', 'deletion'] as const
  const countAdmins = async () => (await service.sql(
    "select id from users where 'admin' = any(roles) and disabled_at is null")).length
  const demoteAll = async () => await service.sql("update users set roles = '{user}'")
  const registerAdmin = async (at: Service = service) => await registerUser(at, 'admin')

  await t.test('cannot be demoted, disabled or deleted', async t => {
    const { browser, id } = await registerAdmin()
    const disabled = await registerAdmin()
    await browser.patch(userPath(disabled.id), { status: 'disabled' })
    for (const name of lossNames) {
      t.match(await losses[name](browser, id), { status: 409, body: { code: 'last_admin' } }, name)
      t.match((await browser.get(userPath(id))).body, { roles: ['user', 'admin'], status: 'active' })
    }
    const { status } = await browser.patch(userPath(id), { roles: ['admin'], name: 'Last' })
    t.equal(status, 200, 'other changes are accepted')
    browser.accessToken = (await browser.post('/v1/auth/refresh')).body.access_token
    const deletion = await losses.deletion(browser, disabled.id)
    t.equal(deletion.status, 204, 'a disabled administrator does not count')
    const other = await registerAdmin()
    t.equal((await losses.demotion(browser, id)).status, 200, 'there is another administrator')
    t.match(await losses.disabling(other.browser, other.id), { status: 409 })
  })

  await t.test('remains if two administrators remove each other at once', async t => {
    for (let round = 0; round < scale(30, 9); round++) {
      await demoteAll()
      const [ada, bob] = [await registerAdmin(), await registerAdmin(secondInstance)]
      const first = lossNames[round % 3] ?? 'demotion'
      const second = lossNames[Math.floor(round / 3) % 3] ?? 'demotion'
      const answers = await Promise.all([
        repeatUnavailable(async () => await losses[first](ada.browser, bob.id)),
        repeatUnavailable(async () => await losses[second](bob.browser, ada.id))
      ])
      const description = `${first} and ${second}: ${describeStatuses(answers)}`
      t.equal(await countAdmins(), 1, description)
      t.equal(answers.filter(({ status }) => status < 300).length, 1, description)
      t.ok(answers.every(({ status }) => [200, 204, 401, 403, 409].includes(status)), description)
    }
  })

  await t.test('remains if three administrators change each other at once, and no request hangs', async t => {
    for (let round = 0; round < scale(10, 3); round++) {
      await demoteAll()
      const admins = [await registerAdmin(), await registerAdmin(secondInstance), await registerAdmin()]
      const changes = [
        { roles: ['user', 'admin', 'editor'], status: 'disabled' },
        { roles: ['editor'], status: 'active' },
        { roles: ['editor'], status: 'disabled', name: 'Gone' }
      ]
      const answers = await Promise.all(admins.flatMap(({ browser }, actor) => {
        const targets = admins.filter((_, target) => target !== actor)
        return targets.map(async ({ id }, index) =>
          await browser.patch(userPath(id), changes[(round + actor + index) % 3]))
      }))
      // A request that waits for a lock for more than a quarter of a second is answered with Retry-After.
      const isExpected = ({ status, headers }: Answer) =>
        [200, 401, 403, 409].includes(status) || headers['retry-after'] === '1'
      t.ok(answers.every(isExpected), describeStatuses(answers))
      t.ok(await countAdmins() >= 1)
    }
  })

  await t.test('is checked without a deadlock between two changes', async t => {
    await demoteAll()
    // Changes lock the administrators in the order of their ids.
    const [lower, upper, actor] = [await registerAdmin(), await registerAdmin(), await registerAdmin()]
    const db = connect({ url: service.url })
    t.teardown(() => db.end())
    let answered = 0
    const countAnswer = () => { answered++ }
    const waitForLocks = async (count: number) => await waitUntil(`${count} wait`, async () => {
      const waiting = await service.sql(
        "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'")
      return waiting.length + answered >= count
    })
    const requests = await db.transaction(async tx => {
      await tx.query('select from users where id = $1 for update', [lower.id])
      const first = losses.disabling(actor.browser, lower.id).finally(countAnswer)
      await waitForLocks(1)
      const change = { roles: ['user', 'admin', 'editor'], status: 'disabled' }
      const second = actor.browser.patch(userPath(upper.id), change).finally(countAnswer)
      await waitForLocks(2)
      return [first, second]
    })
    // On a slow machine the wait for the lock times out, but it never ends in a deadlock.
    for (const { status, headers } of await Promise.all(requests)) {
      t.ok(status === 200 || headers['retry-after'] === '1', String(status))
    }
    t.notMatch(JSON.stringify(service.logs), /40P01/)
  })

  await t.test('remains after any concurrent changes', async t => {
    const change = fc.tuple(fc.constantFrom(...lossNames, 'promotion' as const), fc.nat(3), fc.nat(3))
    await fc.assert(fc.asyncProperty(fc.array(change, { minLength: 2, maxLength: 10 }), async changes => {
      await demoteAll()
      const users = [
        await registerAdmin(), await registerAdmin(secondInstance), await registerAdmin(),
        await registerUser(secondInstance)
      ]
      const answers = await Promise.all(changes.map(async ([name, actorIndex, targetIndex]) => {
        const [actor, target] = [users[actorIndex], users[targetIndex]]
        if (!actor || !target) throw new Error('there is no such user')
        return name === 'promotion'
          ? await actor.browser.patch(userPath(target.id), { roles: ['user', 'admin'] })
          : await losses[name](actor.browser, target.id)
      }))
      t.ok(await countAdmins() >= 1)
      const isExpected = ({ status, headers }: Answer) =>
        [200, 204, 401, 403, 404, 409].includes(status) || headers['retry-after'] === '1'
      t.ok(answers.every(isExpected), describeStatuses(answers))
    }), { numRuns: scale(10, 4) })
  })
})

t.test('the audit log', async t => {
  const service = await build(t, settings)
  const { browser: admin, id: adminId } = await registerUser(service, 'admin')
  const { id, email } = await registerUser(service)

  await t.test('is filtered by user, actor and type', async t => {
    const headers = { 'user-agent': 'Odd/1.0', 'x-request-id': 'odd-request' }
    await service.browser().post('/v1/auth/login', { email, password: 'wrong password' }, headers)
    await admin.patch(userPath(id), { roles: ['editor'] })
    const itemsOf = async (query: string) => (await admin.get(`${auditPath}?${query}`)).body.items
    const answer = await admin.get(`${auditPath}?user_id=${id}`)
    const newestFirst = ['user.roles_changed', 'login.failed', 'login.succeeded', 'user.registered']
    t.strictSame(typesIn(answer), newestFirst)
    const [rolesChanged, loginFailed, loginSucceeded] = answer.body.items
    t.match(rolesChanged, {
      user_id: id,
      actor_id: adminId,
      client_id: null,
      session_id: null,
      ip: '127.0.0.1',
      detail: { from: ['user'], to: ['editor'] }
    })
    t.match(loginFailed, {
      user_id: id,
      actor_id: null,
      user_agent: 'Odd/1.0',
      request_id: 'odd-request',
      detail: { reason: 'wrong_password' }
    })
    t.strictSame(await itemsOf('type=login.failed'), [loginFailed])
    t.strictSame(await itemsOf(`type=login.failed&user_id=${id}`), [loginFailed])
    t.strictSame(await itemsOf(`type=login.failed&user_id=${adminId}`), [])
    t.strictSame(await itemsOf(`actor_id=${adminId}&user_id=${id}`), [rolesChanged])
    const ownActions = (await readAllPages(admin, `${auditPath}?actor_id=${id}`)).map(({ type }) => type)
    t.strictSame(ownActions, ['login.succeeded', 'user.registered'], 'the actor may be the user of the event')
    t.strictSame(await itemsOf(`actor_id=${id}&type=login.succeeded`), [loginSucceeded])
    t.strictSame(await itemsOf(`actor_id=${randomUUID()}`), [])
    t.match(await admin.get(`${auditPath}?actor_id=ada`), {
      status: 400, body: { errors: [{ pointer: '/actor_id' }] }
    })
    const [row] = await service.sql<{ count: string }>('select count(*) from audit_events')
    t.strictSame((await readAllPages(admin, auditPath)).length, Number(row?.count))
  })

  await t.test('is in order, also for events of the same millisecond', async t => {
    const rows = await service.sql<{ id: string }>('select uuid_v7() as id from generate_series(1, 200)')
    const uuidV7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/
    t.ok(rows.every(({ id }) => uuidV7.test(id)))
    const timeOf = (uuid: string) => Number.parseInt(uuid.replace('-', '').slice(0, 12), 16)
    t.ok(rows.every(({ id }) => Math.abs(timeOf(id) - Date.now()) < 60_000), 'an id begins with the time')
    await service.sql(`do $$ begin
      for i in 1..50 loop
        insert into audit_events (type, detail) values ('key.rotated', jsonb_build_object('i', i));
      end loop;
    end $$`)
    const events = await readAllPages(admin, `${auditPath}?type=key.rotated`)
    const descending = Array.from({ length: 50 }, (_, index) => 50 - index)
    t.strictSame(events.map(({ detail }) => Object(detail).i), descending)
  })

  await t.test('is filtered by time, and paged', async t => {
    const user = randomUUID()
    await service.sql(`
      insert into audit_events (id, type, user_id, created_at, detail)
      select
        (
          lpad(to_hex((extract(epoch from at) * 1000)::bigint + 5), 12, '0') || '7000' ||
          substr(replace(gen_random_uuid()::text, '-', ''), 17)
        )::uuid,
        'login.succeeded', $1, at, jsonb_build_object('i', i)
      from
        generate_series(0, 59) as i,
        lateral (select timestamptz '2026-01-01T00:00:00Z' + i * interval '1 s' as at) as moment`, [user])
    const numbersOf = async (query: string) => {
      const events = await readAllPages(admin, `${auditPath}?user_id=${user}${query}`)
      return events.map(({ detail }) => Number(Object(detail).i))
    }
    const descend = (from: number, to: number) =>
      Array.from({ length: from - to + 1 }, (_, index) => from - index)
    t.strictSame(await numbersOf(''), descend(59, 0))
    t.strictSame(await numbersOf('&since=2026-01-01T00:00:10Z&until=2026-01-01T00:00:20Z'), descend(19, 10))
    const withOffset = '&since=2026-01-01T01:00:10.5%2B01:00&type=login.succeeded'
    t.strictSame(await numbersOf(withOffset), descend(59, 11))
    t.strictSame(await numbersOf('&until=2026-01-01T00:00:03.001Z'), descend(3, 0))
    t.strictSame(await numbersOf('&since=2026-01-01T00:00:20Z&until=2026-01-01T00:00:10Z'), [])
    t.strictSame(await numbersOf('&type=login.failed'), [])
  })

  await t.test('is read by an index with every filter', async t => {
    const [rare, frequent] = [randomUUID(), randomUUID()]
    await service.sql(`
      insert into audit_events (type, user_id, actor_id)
      select
        case when i % 1000 = 0 then 'key.rotated' else 'login.succeeded' end,
        case when i % 400 = 0 then $1 else gen_random_uuid() end,
        case when i % 2 = 0 then $2 when i % 400 = 1 then $1 else gen_random_uuid() end
      from generate_series(1, 20000) as i`, [rare, frequent])
    await service.sql('analyze audit_events')
    const { list } = await import('../../src/audit/query.ts')
    const since = new Date(Date.now() - 3_600_000)
    const filters = [
      {}, { userId: rare }, { type: 'key.rotated' }, { type: 'login.failed' },
      { userId: rare, type: 'login.succeeded' }, { actorId: rare }, { actorId: frequent },
      { actorId: rare, type: 'login.succeeded' }, { actorId: frequent, type: 'key.rotated' },
      { actorId: frequent, userId: rare }, { actorId: rare, until: since },
      { since }, { until: since }, { type: 'login.succeeded', until: since }
    ] as const
    for (const filter of filters) {
      const recorder = planRecorder(service, 'analyze, costs off')
      await list(recorder, filter, { before: undefined, limit: 21 })
      const { plan } = recorder
      t.notMatch(plan, /Seq Scan/, JSON.stringify(filter))
      const [, removed = '0'] = /Rows Removed by Filter: (\d+)/.exec(plan) ?? []
      t.ok(Number(removed) <= 60, `${JSON.stringify(filter)} ${plan}`)
    }
  })
})
