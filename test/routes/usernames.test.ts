import { writeFileSync } from 'node:fs'
import { run } from '../support/command-line.ts'
import { build, newUser, type Service } from '../support/app.ts'
import { createDatabase, sql } from '../support/postgres.ts'
import { repeatUnavailable } from '../support/repetition.ts'
import { temporaryFolder } from '../support/temporary-folder.ts'
import { t } from '../support/test.ts'

const register = async ({ browser }: Service, username: string) =>
  await browser().post('/v1/auth/register', { ...newUser(), username })
const taken = { status: 409, body: { code: 'username_taken' } }

t.test('usernames that look alike', async t => {
  const service = await build(t)

  await t.test('cannot both exist', async t => {
    const pairs: Array<[string, string[]]> = [
      [
        'lovelace',
        ['Lovelace', 'LOVELACE', '1ovelace', 'iovelace', 'l0velace', 'love_lace', 'love.lace', '-love--lace-']
      ],
      ['bob', ['b0b', 'B0B', 'b.o.b']],
      ['kai', ['kal', 'ka1', 'KAL']],
      ['modern', ['rnodern', 'modem', 'rnodem', 'mod.em']],
      ['vvv.x', ['wvx', 'vwx', 'v_v_v_x']]
    ]
    for (const [first, others] of pairs) {
      t.equal((await register(service, first)).status, 201, first)
      for (const other of others) t.match(await register(service, other), taken, `${other} beside ${first}`)
    }
    for (const other of ['bobo', 'lovelase', 'boob']) {
      t.equal((await register(service, other)).status, 201, other)
    }
  })

  await t.test('cannot both be registered at the same time', async t => {
    for (let round = 0; round < 5; round++) {
      const responses = await Promise.all(
        [`vivian${round}x`, `vlv1an${round}x`, `v.ivian${round}x`].map(username =>
          repeatUnavailable(async () => await register(service, username))
        )
      )
      t.strictSame(responses.map(({ status }) => status).sort(), [201, 409, 409])
    }
  })

  await t.test('cannot be chosen by a change, unless they look like the user\'s own', async t => {
    const browser = service.browser()
    browser.accessToken = (
      await browser.post('/v1/auth/register', { ...newUser(), username: 'turing' })
    ).body.access_token
    t.match(await browser.patch('/v1/me', { username: 'kal' }), taken)
    t.match(await browser.patch('/v1/me', { username: 'tur1ng' }), {
      status: 200,
      body: { username: 'tur1ng' }
    })
    t.match(await browser.patch('/v1/me', { username: 'TUR1NG' }), {
      status: 200,
      body: { username: 'tur1ng' }
    })
    t.match(await register(service, 'turing'), taken)
    t.match(await browser.patch('/v1/me', { username: null }), { status: 200, body: { username: null } })
    t.equal((await register(service, 'turing')).status, 201)
  })

  await t.test('are different names at a sign-in', async t => {
    const user = { ...newUser(), username: 'hopper' }
    await service.browser().post('/v1/auth/register', user)
    t.equal(
      (await service.browser().post('/v1/auth/login', { username: 'hopper', password: user.password }))
        .status,
      200
    )
    t.match(await service.browser().post('/v1/auth/login', { username: 'h0pper', password: user.password }), {
      status: 401,
      body: { code: 'invalid_credentials' }
    })
  })

  await t.test('are left out by an import, which reports them', async t => {
    const url = await createDatabase(t)
    await sql(
      url,
      'insert into users (id, email, canonical_email, username) values (gen_random_uuid(), ' +
        "'x@example.com', 'x@example.com', 'grace')"
    )
    const path = `${temporaryFolder(t)}/users.jsonl`
    writeFileSync(
      path,
      [
        { email: 'a@example.com', username: 'gr.ace' },
        { email: 'b@example.com', username: 'barbara' },
        { email: 'c@example.com', username: 'barbara_' },
        { email: 'd@example.com', username: 'admin' }
      ]
        .map(line => `${JSON.stringify(line)}\n`)
        .join('')
    )
    const { stdout, stderr } = await run(t, ['users', 'import', path, '--json'], { DATABASE_URL: url })
    t.match(JSON.parse(stdout), { imported: 4, refused: 0, left_out: { username_taken: 2 } }, stderr)
    t.strictSame(
      await sql(url, 'select username from users where username is not null order by username'),
      [{ username: 'admin' }, { username: 'barbara' }, { username: 'grace' }],
      'the operator may assign reserved names'
    )
  })
})

t.test('usernames that could be mistaken for the service', async t => {
  const service = await build(t, { SERVICE_NAME: 'Blue Heron!' })
  for (const username of [
    'admin', 'Admin', 'adm1n', 'a.d.m.i.n', 'root', 'support', 'supp0rt', 'postmaster', 'blueheron',
    'b1ue_her0n', 'blueheron-support', 'support_blueheron'
  ]) {
    t.match(await register(service, username), taken, username)
  }
  for (const username of ['badminton', 'rooted', 'heron', 'latchkey']) {
    t.equal((await register(service, username)).status, 201, username)
  }

  await t.test('stay with the users who have them', async t => {
    const browser = service.browser()
    const { body } = await browser.post('/v1/auth/register', { ...newUser(), username: 'early' })
    browser.accessToken = body.access_token
    t.match(await browser.patch('/v1/me', { username: 'support' }), taken)
    await service.sql("update users set username = 'support' where id = $1", [body.user.id])
    t.match(await browser.patch('/v1/me', { username: 'SUPPORT', name: 'Early' }), {
      status: 200,
      body: { username: 'support', name: 'Early' }
    })
  })
})

t.test('a username that may look like another', async t => {
  const url = await createDatabase(t)
  const older = ['grace', 'alan', 'b0b'].map(name => ({ name, isLookalike: false }))
  const lookalikes = ['gr.ace', 'g_race', 'bob'].map(name => ({ name, isLookalike: true }))
  for (const { name, isLookalike } of [...older, ...lookalikes]) {
    await sql(url, `
      insert into users (id, email, canonical_email, username, username_lookalike)
      values (gen_random_uuid(), $1, $1, $2, $3)`, [`${name}@example.com`, name, isLookalike])
  }
  const insertUser = async (name: string) =>
    await sql(
      url,
      'insert into users (id, email, canonical_email, username) values (gen_random_uuid(), $1, $1, $2)',
      [`new-${name}@example.com`, name]
    )
  for (const name of ['grac-e', 'a1an', 'b.ob']) {
    await t.rejects(insertUser(name), /users_username_skeleton_key/, name)
  }
  await insertUser('barbara')
})
