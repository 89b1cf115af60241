import type { Test } from 'tap'
import { start } from '../support/command-line.ts'
import { excessiveHashes, importedHashes, unknownHashes } from '../support/imported-hashes.ts'
import { build, type Service } from '../support/app.ts'
import { t } from '../support/test.ts'

/** Imports accounts with these hashes, and returns their addresses. */
async function importAccounts (t: Test, { url }: Service, hashes: string[]): Promise<string[]> {
  const lines = hashes.map((hash, index) => ({ email: `imported-${index}@example.com`, password_hash: hash }))
  const { child, end } = start(t, ['users', 'import', '-', '--json'], { DATABASE_URL: url })
  child.stdin.end(lines.map(line => `${JSON.stringify(line)}\n`).join(''))
  const { stdout, stderr } = await end()
  t.match(JSON.parse(stdout || '{}'), { imported: hashes.length, refused: 0 }, stderr)
  return lines.map(({ email }) => email)
}

const signIn = async (service: Service, email: string, password: string) =>
  await service.browser().post('/v1/auth/login', { email, password })
const hashOf = async (service: Service, email: string) =>
  (
    await service.sql<{ password_hash: string }>('select password_hash from users where email = $1', [email])
  )[0]?.password_hash ?? ''

t.test('an imported user', async t => {
  const service = await build(t)

  await t.test('signs in with a password hash of any supported format, which becomes argon2id', async t => {
    const emails = await importAccounts(t, service, Object.values(importedHashes).map(([hash]) => hash))
    for (const [index, [name, [hash, password]]] of Object.entries(importedHashes).entries()) {
      const email = emails[index] ?? ''
      for (const wrong of [password.slice(0, 7), `y${password}`, password.toUpperCase()]) {
        t.equal((await signIn(service, email, wrong)).status, 401, `${name}: ${wrong}`)
      }
      t.equal(await hashOf(service, email), hash, `${name}: a wrong password changes nothing`)
      t.equal((await signIn(service, email, password)).status, 200, name)
      t.match(await hashOf(service, email), /^\$argon2id\$v=19\$m=1024,t=1,p=1\$/, name)
      t.equal((await signIn(service, email, password)).status, 200, `${name}, again`)
      t.equal(
        (await signIn(service, email, `y${password}`)).status,
        401,
        `${name}: a wrong password is still rejected`
      )
    }
  })

  await t.test('signs in with the password in the Unicode form of the old system', async t => {
    const [nfc, nfd] = ['Hello wörld!'.normalize('NFC'), 'Hello wörld!'.normalize('NFD')]
    const hashes = [
      '$5$nfc$KKdRZqNkSZzqa5Sy7Mqv3RRR013VLSLNfjuFK.sxj21',
      '$5$nfd$4Gupiu.zF6sRcTjEA0Ix5E/yUX8BSR.PejYnZcv1V4B'
    ]
    await service.sql('delete from users')
    const [ofNfc = '', ofNfd = ''] = await importAccounts(t, service, hashes)
    t.equal((await signIn(service, ofNfd, nfd)).status, 200)
    t.equal((await signIn(service, ofNfc, nfd)).status, 200)
    for (const email of [ofNfc, ofNfd]) {
      for (const form of [nfc, nfd, nfc.normalize('NFKC')]) {
        t.equal((await signIn(service, email, form)).status, 200, 'every form works after the first sign-in')
      }
    }
  })

  await t.test('signs in with the password as WordPress and better-auth have changed it', async t => {
    await service.sql('delete from users')
    const passwords = [
      // PHP 8.2, as above: hashed as a form sends the password, with a backslash before the quote
      ['$wp$2y$04$AxL5gVwhFoYwSBZ2miba1.VB1x2VemiGzr2HCvhg.nCuUX6QYS1iy', "it's a phrase"],
      // better-auth 1.7.25
      [
        '4e8ea00848bf2c220c57178b87a1057a:d0d36d059090e06ad4446a9f7e6847dcd19961d06ed5a6f743729e689d00097ab1f2f36cda3266c41d314ac0c3225bf34614be35c08a8166c7dbcd7b0d20f043',
        'Hello ﬁeld!'
      ]
    ]
    const emails = await importAccounts(t, service, passwords.map(([hash = '']) => hash))
    for (const [index, [, password = '']] of passwords.entries()) {
      t.equal((await signIn(service, emails[index] ?? '', password)).status, 200, password)
    }
    await service.sql('delete from users')
    const [trimmed = ''] = await importAccounts(
      t,
      service,
      [importedHashes['bcrypt of WordPress']?.[0] ?? '']
    )
    t.equal((await signIn(service, trimmed, ' Hello wörld! ')).status, 200, 'WordPress trims passwords')
  })

  await t.test('with a bcrypt hash signs in with the first 72 bytes, of which a NUL is one', async t => {
    await service.sql('delete from users')
    const [email = ''] = await importAccounts(t, service, [importedHashes['bcrypt, of 80 bytes']?.[0] ?? ''])
    t.equal((await signIn(service, email, `${'x'.repeat(71)}\0`)).status, 401)
    t.equal((await signIn(service, email, 'x'.repeat(72))).status, 200)
    t.equal(
      (await signIn(service, email, 'x'.repeat(80))).status,
      401, 'after the sign-in, the whole typed password counts'
    )
  })

  await t.test('with an expensive or unknown hash is rejected without evaluating the hash', async t => {
    await service.sql('delete from users')
    const hashes = [...excessiveHashes, ...unknownHashes]
    await service.sql(`insert into users (id, email, canonical_email, password_hash)
      select gen_random_uuid(), n || '@example.com', n || '@example.com', hash
      from unnest($1::text[]) with ordinality as t (hash, n)`, [hashes])
    for (const [index, hash] of hashes.entries()) {
      t.equal((await signIn(service, `${index + 1}@example.com`, 'Hello wörld!')).status, 401, hash)
    }
    const warnings = service.logs.filter(({ msg }) => /password hash not evaluated/.test(String(msg)))
    t.equal(warnings.length, hashes.length)
    t.notOk(
      hashes.some(hash => hash.length > 20 && JSON.stringify(service.logs).includes(hash.slice(-20))),
      'the log contains no hash'
    )
  })

  await t.test('does not delay other requests while a hash of many rounds is evaluated', async t => {
    await service.sql('delete from users')
    const [email = ''] = await importAccounts(t, service, [
      '$6$rounds=300000$salt$8GjA4h6bLq3unnPDn38epw36h5BcS5NgYSvbTcRxaW/wlZXxhKQoYKlmGOLZWSrLypvAXV6' +
        '/rETeHnrArKb7W1'
    ])
    const finished = new AbortController()
    const response = signIn(service, email, 'wrong').finally(() => { finished.abort() })
    let otherResponses = 0
    for (; !finished.signal.aborted; otherResponses++) {
      t.equal((await service.browser().get('/livez')).status, 200)
      await new Promise(resolve => setImmediate(resolve))
    }
    t.match(await response, { status: 401 })
    t.ok(otherResponses > 20, `${otherResponses} responses meanwhile`)
  })
})
