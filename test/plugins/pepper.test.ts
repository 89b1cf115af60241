import argon2 from 'argon2'
import { randomBytes } from 'node:crypto'
import { isSealedWith } from '../../src/crypto/sealing.ts'
import { run } from '../support/command-line.ts'
import { build, keyEncryptionKey, newUser, type Service, type UserCredentials } from '../support/app.ts'
import { createDatabase } from '../support/postgres.ts'
import { repeatUnavailable } from '../support/repetition.ts'
import { t } from '../support/test.ts'

const withPepper = { PASSWORD_PEPPER: 'true' }
const peppered = /^\$argon2id\$v=19\$m=1024,t=1,p=1,keyid=[0-9a-f]{8}\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$/
const plain = /^\$argon2id\$v=19\$m=1024,t=1,p=1\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$/

const hashOf = async (service: Service, { email }: UserCredentials) =>
  (
    await service.sql<{ password_hash: string }>('select password_hash from users where email = $1', [email])
  )[0]?.password_hash ?? ''
const signUp = async (service: Service) => {
  const user = newUser()
  const { status, text } = await service.browser().post('/v1/auth/register', user)
  if (status !== 201) throw new Error(text)
  return user
}
const signIn = async (service: Service, { email, password }: UserCredentials) =>
  await service.browser().post('/v1/auth/login', { email, password })
const accepted = { status: 200 }
const rejected = { status: 401, body: { code: 'invalid_credentials' } }

t.test('with a pepper', async t => {
  const service = await build(t, withPepper)
  const ada = await signUp(service)

  t.test('a hash alone, as in a dump, does not verify the password', async t => {
    const hash = await hashOf(service, ada)
    t.match(hash, peppered)
    const bare = hash.replace(/,keyid=\w+/, '')
    t.notOk(await argon2.verify(bare, ada.password))
    t.ok(
      await argon2.verify(bare, ada.password, { secret: service.app.keyring.getPepper().secret }),
      'with the secret it does'
    )
    t.equal(service.app.keyring.getPepper().secret.length, 32)
    const dump = await service.sql<{ sealed_secret: Buffer }>('select sealed_secret from peppers')
    t.ok(
      dump.every(
        ({ sealed_secret: sealed }) =>
          isSealedWith(keyEncryptionKey, sealed) && !sealed.includes(service.app.keyring.getPepper().secret)
      ),
      'the secret is sealed'
    )
  })

  t.test('only the right password signs in', async t => {
    const before = await hashOf(service, ada)
    t.match(await signIn(service, ada), accepted)
    t.match(await signIn(service, { ...ada, password: `${ada.password}!` }), rejected)
    t.match(await signIn(service, newUser()), rejected)
    const after = await build(t, withPepper, { url: service.url })
    t.match(await signIn(after, ada), accepted, 'also after a restart')
    t.equal(await hashOf(service, ada), before, 'the hash does not change')
  })

  t.test('the pepper is listed with the keys and cannot be dropped', async t => {
    const [{ kid } = { kid: '' }] = await service.sql<{ kid: string }>('select kid from peppers')
    const environment = { DATABASE_URL: service.url, KEY_ENCRYPTION_KEY: keyEncryptionKey.toString('base64') }
    const { stdout } = await run(t, ['keys', 'list', '--json'], environment)
    t.match(
      JSON.parse(stdout).items.find((key: { kid: string }) => key.kid === kid),
      { purpose: 'password', alg: 'argon2id', state: 'active', retires_at: null, gone_at: null }
    )
    t.strictSame(await run(t, ['keys', 'rotate', '--drop', kid], environment), {
      code: 1,
      stdout: '',
      stderr: `${kid} is the pepper of the password hashes; without it no password could be verified.\n`
    })

    const admin = service.browser()
    const { body } = await admin.post('/v1/auth/register', newUser())
    await service.sql("update users set roles = '{user,admin}' where id = $1", [body.user.id])
    admin.accessToken = (await admin.post('/v1/auth/refresh')).body.access_token
    t.match(
      (await admin.get('/v1/admin/keys')).body.items.filter(
        (key: { purpose: string }) => key.purpose === 'password'
      ),
      [{ kid }]
    )
    const before = await service.sql('select kid, retires_at from keys order by kid')
    t.match(await admin.post('/v1/admin/keys/rotate', { drop: kid }), {
      status: 400,
      body: { code: 'validation_failed', errors: [{ pointer: '/drop' }] }
    })
    t.strictSame(await service.sql('select kid, retires_at from keys order by kid'), before)
    t.match(await signIn(service, ada), accepted)
  })

  t.test('only hashes with this pepper are imported', async t => {
    const hash = await hashOf(service, ada)
    const [here, elsewhere] = [newUser(), newUser()]
    const lines = [
      { email: here.email, password_hash: hash },
      { email: elsewhere.email, password_hash: hash.replace(/keyid=\w+/, 'keyid=00000000') }
    ]
    const folder = t.testdir({ 'users.jsonl': lines.map(line => JSON.stringify(line)).join('\n') })
    const { code, stdout } = await run(t, ['users', 'import', `${folder}/users.jsonl`, '--json'], {
      DATABASE_URL: service.url,
      KEY_ENCRYPTION_KEY: keyEncryptionKey.toString('base64')
    })
    t.match(
      { code, ...JSON.parse(stdout) },
      { code: 1, imported: 1, refused: 1, reasons: { unknown_pepper: 1 } }
    )
    t.match(await signIn(service, { email: here.email, password: ada.password }), accepted)
    t.match(await signIn(service, { email: elsewhere.email, password: ada.password }), rejected)
  })

  t.test('another sealed secret does not pass for the pepper', async t => {
    const other = await build(t, withPepper)
    await other.sql(
      "update peppers set sealed_secret = (select sealed_secret from keys where purpose = 'refresh_token')"
    )
    const { app } = await build(t, withPepper, { url: other.url, ready: false })
    await t.rejects(app.keyring.loaded, { message: 'it was changed after it was sealed' })
  })
})

t.test('when the pepper is switched on, off and on again, everyone can sign in', async t => {
  const off = await build(t)
  const [ada, grace] = [await signUp(off), await signUp(off)]
  t.match(await hashOf(off, ada), plain)
  t.strictSame(await off.sql('select kid from peppers'), [])

  const on = await build(t, withPepper, { url: off.url })
  t.match(await signIn(on, { ...ada, password: 'not the password' }), rejected)
  t.match(await hashOf(off, ada), plain)
  t.match(await signIn(on, ada), accepted)
  t.match(await hashOf(off, ada), peppered, 'a sign-in updates the hash')
  t.match(await hashOf(off, grace), plain, 'other hashes do not change')
  const alan = await signUp(on)

  await t.test('an instance with another configuration accepts the hashes at once', async t => {
    t.match(await signIn(off, alan), accepted)
    t.match(await hashOf(off, alan), plain)
    t.match(await signIn(on, alan), accepted)
    t.match(await hashOf(off, alan), peppered)
    t.match(await signIn(off, { ...ada, password: 'not the password' }), rejected)
  })

  const offAgain = await build(t, {}, { url: off.url })
  for (const user of [ada, grace, alan]) {
    t.match(await signIn(offAgain, user), accepted)
    t.match(await hashOf(off, user), plain)
  }
  const onAgain = await build(t, withPepper, { url: off.url })
  for (const user of [ada, grace, alan]) {
    t.match(await signIn(onAgain, user), accepted)
    t.match(await hashOf(off, user), peppered)
  }
  t.equal((await off.sql('select kid from peppers')).length, 1, 'the pepper stays the same')
})

t.test('instances that start together create one pepper', async t => {
  const url = await createDatabase(t)
  const instances = await Promise.all(
    Array.from({ length: 4 }, async () => await build(t, withPepper, { url }))
  )
  const [first] = instances
  if (!first) return
  t.equal((await first.sql('select kid from peppers')).length, 1)
  t.match(
    await first.sql(
      `select detail ->> 'kid' as kid from audit_events
      where type = 'key.created' and detail ->> 'purpose' = 'password'`
    ),
    [{ kid: first.app.keyring.getPepper().kid }]
  )
  const ada = await signUp(first)
  for (const service of instances) t.match(await signIn(service, ada), accepted)
})

t.test('all passwords work after the key-encryption key is replaced', async t => {
  const fresh = randomBytes(32)
  const before = await build(t, withPepper)
  const ada = await signUp(before)
  const keys = (...keys: Buffer[]) => ({ KEY_ENCRYPTION_KEY: keys.map(key => key.toString('base64')).join() })
  const sealedWith = async (key: Buffer) =>
    (await before.sql<{ sealed_secret: Buffer }>('select sealed_secret from peppers')).every(
      ({ sealed_secret: sealed }) => isSealedWith(key, sealed)
    )
  await build(t, { ...withPepper, ...keys(keyEncryptionKey, fresh) }, { url: before.url })
  t.ok(await sealedWith(keyEncryptionKey))
  // Even without a pepper for new hashes, the pepper of old hashes is sealed again.
  await build(t, { ...keys(fresh, keyEncryptionKey) }, { url: before.url })
  t.ok(await sealedWith(fresh))
  const after = await build(t, { ...withPepper, ...keys(fresh) }, { url: before.url })
  t.match(await signIn(after, ada), accepted)
  t.match(await signIn(before, ada), accepted, 'also on an instance that read it before')

  await t.test('also if an instance with the old key was still running', async t => {
    const mixed = await build(
      t,
      { ...withPepper, ...keys(fresh, keyEncryptionKey), JWKS_MAX_AGE: '1s' },
      { url: before.url }
    )
    const started = await build(t, { ...withPepper, ...keys(keyEncryptionKey, fresh) }, { url: before.url })
    t.ok(started.app.keyring.isLoaded())
    while (!(await sealedWith(fresh))) await new Promise(resolve => setTimeout(resolve, 20))
    t.match(await signIn(mixed, ada), accepted)
  })
})

t.test('if the pepper is lost, the service responds 503 and judges no password', async t => {
  const service = await build(t, withPepper)
  const ada = await signUp(service)
  const off = await build(t, {}, { url: service.url })
  const grace = await signUp(off)
  const [row] = await service.sql<{ kid: string, sealed_secret: Buffer }>(
    'delete from peppers returning kid, sealed_secret'
  )
  const after = await build(t, {}, { url: service.url })
  for (const password of [ada.password, 'not the password']) {
    t.match(await signIn(after, { ...ada, password }), {
      status: 503,
      body: { code: 'database_unavailable' }
    })
  }
  t.match(
    after.logs.filter(({ msg }) => msg === 'request failed'),
    [{ err: { message: /^the pepper [0-9a-f]{8} of a password hash is not in the database$/ } }, {}]
  )
  t.match(await signIn(after, grace), accepted)
  t.strictSame(await service.sql("select detail from audit_events where type = 'login.failed'"), [])

  await t.test('the pepper is found when it is restored', async t => {
    await service.sql('insert into peppers (kid, sealed_secret) values ($1, $2)', [
      row?.kid,
      row?.sealed_secret
    ])
    // Its id stays unknown for a second, because no notification announced it.
    t.match(await repeatUnavailable(async () => await signIn(after, ada)), accepted)
  })
})
