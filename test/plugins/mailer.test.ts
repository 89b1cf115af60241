import { randomBytes } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import t from 'tap'
import { freePort } from '../../src/database/embedded/server.ts'
import { notificationLifetimeSeconds, sealMail, enqueueMail, type Mail } from '../../src/mail/outbox.ts'
import { isSealedWith } from '../../src/crypto/sealing.ts'
import { build, keyEncryptionKey, newUser, type Service } from '../support/app.ts'
import { createDatabase, named, sql } from '../support/postgres.ts'
import { ready, start } from '../support/process.ts'
import { smtpServer } from '../support/smtp.ts'
import { temporaryFolder } from '../support/temporary-folder.ts'

const from = 'Orders & Co <login@example.com>'
const reset = (to: string): Mail => ({ kind: 'password_reset', token: `lkl_${to}`, lives: 1_800, to })

const post = async ({ app }: Service, ...mails: Mail[]) => {
  for (const mail of mails) await enqueueMail(app.db, app.mailer.sealMail(mail), undefined)
  app.jobs.wake('mail')
}

/** Waits until a query on the service's database gives what is waited for. */
async function until<Row extends object> (url: string, query: string, isSo: (row: Row | undefined) => boolean): Promise<Row | undefined> {
  for (const end = Date.now() + 20_000; ; await pause(20)) {
    const [row] = await sql<Row>(url, query)
    if (isSo(row)) return row
    if (Date.now() > end) throw new Error(`still ${JSON.stringify(row)}: ${query}`)
  }
}

const done = async ({ url }: Service) => await until<{ jobs: number }>(url, 'select count(*)::int as jobs from jobs', row => row?.jobs === 0)
const failed = async ({ url }: Service, attempts = 1) =>
  await until<{ attempts: number, wait: number }>(url, 'select attempts, extract(epoch from run_at - now())::float8 as wait from jobs', row => row?.attempts === attempts && row.wait < 100)
const again = async (service: Service) => {
  await service.sql('update jobs set run_at = now()')
  service.app.jobs.wake('mail')
}

const events = async ({ sql }: Service) => (await sql<{ detail: object }>("select detail from audit_events where type = 'mail.failed' order by id")).map(({ detail }) => detail)

/** What must never be in a log: what is mailed, and to whom. */
const secrets = /lkl_|@example\.com|#token/

t.test('mails', async t => {
  const smtp = await smtpServer(t)
  const options = { SMTP_URL: smtp.url, MAIL_FROM: from, SERVICE_NAME: 'Orders', ISSUER_URL: 'https://auth.example.com' }
  const service = await build(t, options)
  const other = await build(t, options, { url: service.url })
  const browser = service.browser()

  t.test('come with the link of a request, as text and as HTML, from the configured sender', async t => {
    const ada = newUser()
    await browser.post('/v1/auth/register', ada)
    const mail = await smtp.mailTo(ada.email)
    t.match(mail, { from: 'login@example.com', subject: 'Confirm your e-mail address for Orders', link: /^https:\/\/auth\.example\.com\/email-verification#token=lkl_[\w-]{43}$/ })
    t.match(mail.headers, { from: '"Orders & Co" <login@example.com>', to: ada.email, 'auto-submitted': 'auto-generated', 'x-auto-response-suppress': 'All', 'content-language': 'en', date: /2\d\d\d/ })
    t.match(mail.messageId, /^<[0-9a-f-]{36}@auth\.example\.com>$/)
    t.match(mail.html, `#token&#x3D;${mail.token}`)
    t.notOk('reply-to' in mail.headers || 'x-mailer' in mail.headers)
    t.equal((await service.browser().post('/v1/auth/email-verification/confirm', { token: mail.token, password: ada.password })).status, 204)
  })

  t.test('are in the language that the request asks for', async t => {
    const ada = newUser()
    await browser.send('POST', '/v1/auth/register', ada, { 'accept-language': 'fr, de-AT;q=0.9, en;q=0.5' })
    t.match(await smtp.mailTo(ada.email), { subject: 'Bestätigen Sie Ihre E-Mail-Adresse für Orders', text: /24 Stunden/, headers: { 'content-language': 'de' } })
  })

  t.test('are not sent to nobody, whose asking leaves nothing behind', async t => {
    const before = smtp.all().length
    t.equal((await browser.post('/v1/auth/password-reset', { email: 'nobody@example.com' })).status, 202)
    await done(service)
    t.equal(smtp.all().length, before)
    t.strictSame(await events(service), [])
  })

  t.test('arrive once each, from two instances that share them', async t => {
    const people = Array.from({ length: 200 }, (_, index) => `crowd-${index}@example.com`)
    await Promise.all([post(service, ...people.slice(0, 100).map(reset)), post(other, ...people.slice(100).map(reset))])
    await done(service)
    t.strictSame(smtp.all().map(({ to }) => to).filter(to => to.startsWith('crowd-')).sort(), people.sort())
    const sent = [service, other].map(({ app }) => app.mailer.counts.find(({ kind, result }) => kind === 'password_reset' && result === 'sent')?.count ?? 0)
    t.ok(Math.min(...sent) > 0, `both sent: ${sent.join(' and ')}`)
  })

  t.test('that notify are at most fifteen of a kind at once to an address, however it is written, and then one each five minutes', async t => {
    const typed = ['Mail@example.com', 'mail@EXAMPLE.com', 'mail@example.com']
    const notifications = (count: number): Mail[] => Array.from({ length: count }, (_, index) => ({ kind: 'new_sign_in', to: typed[index % 3] ?? '' }))
    const arrived = () => smtp.all().filter(({ to }) => to.toLowerCase() === 'mail@example.com').length
    const limited = () => [service, other].flatMap(({ app }) => app.mailer.counts).filter(({ result }) => result === 'limited').reduce((sum, { count }) => sum + count, 0)
    await Promise.all([post(service, ...notifications(20)), post(other, ...notifications(20))])
    await done(service)
    t.strictSame([arrived(), limited()], [15, 25])
    await post(service, { kind: 'password_changed', to: 'mail@example.com' })
    await done(service)
    t.equal(arrived(), 16, 'each kind is counted for itself')
    const [row] = await service.sql<{ text: string }>("select string_agg(encode(key, 'escape'), ' ') as text from mail_buckets")
    t.notMatch(row?.text, /example|new_sign_in/)

    for (const more of [1, 2]) {
      await service.sql("update mail_buckets set empty_at = empty_at - interval '5 minutes'")
      await post(service, ...notifications(4))
      await done(service)
      t.equal(arrived(), 16 + more)
    }
  })

  t.test('that an administrator, or the proof of a mailbox, stands behind are not counted', async t => {
    const kinds = ['password_reset', 'invitation', 'email_changed', 'account_deleted'] as const
    for (const kind of kinds) {
      const mail: Mail = { kind, to: `${kind}@example.com`, ...kind === 'password_reset' || kind === 'invitation' ? { token: 'lkl_x', lives: 60 } : { isUncounted: true } }
      await post(service, ...Array<Mail>(20).fill(mail))
    }
    await done(service)
    for (const kind of kinds) t.equal(smtp.all().filter(({ to }) => to === `${kind}@example.com`).length, 20, kind)
  })

  t.test('that a version before left in the queue are all sent', async t => {
    const kinds = ['email_verification', 'password_reset', 'magic_link', 'email_change'] as const
    for (const kind of kinds) {
      const mails = Array.from({ length: 20 }, () => sealMail([keyEncryptionKey], { kind, to: `queue-of-${kind}@example.com`, token: 'lkl_x', lives: 60 }))
      await service.sql(`
        insert into jobs (kind, sealed, created_at, expires_at)
        select 'mail', sealed, now() - interval '2 hours', now() + interval '1 hour' from unnest($1::bytea[]) as sealed`, [mails])
    }
    await done(service)
    for (const kind of kinds) t.equal(smtp.all().filter(({ to }) => to === `queue-of-${kind}@example.com`).length, 20, kind)
  })

  t.test('count once, however often they are tried', async t => {
    await smtp.answer('busy@example.com', '451 4.7.1 busy@example.com: try again later', 5)
    await service.sql('delete from mail_buckets')
    await post(service, { kind: 'new_sign_in', to: 'busy@example.com' })
    for (let attempts = 1; attempts <= 5; attempts++) {
      await failed(service, attempts)
      await again(service)
    }
    await done(service)
    t.match(await service.sql("select empty_at < now() + interval '5 minutes' as once from mail_buckets"), [{ once: true }])
    t.match(await smtp.mailTo('busy@example.com'), { subject: /sign-in/ })
  })

  t.test('that the recipient\'s server refuses are given up, which the log and the audit log tell without the address', async t => {
    await smtp.answer('gone@example.com', '550 5.1.1 No mailbox gone@example.com')
    await post(service, reset('gone@example.com'))
    await done(service)
    t.strictSame(await events(service), [{ kind: 'password_reset', reason: 'refused' }])
    t.match([...service.logs, ...other.logs].find(({ reason }) => reason === 'refused'), { level: 50, mail: 'password_reset', status: 550, job: /^[0-9a-f-]{36}$/ })
  })

  t.test('to an address that somebody wants to change to do not tell them whether it is taken, neither refused nor dropped', async t => {
    const secretive = await build(t, { ...options, REQUIRE_EMAIL_VERIFICATION: 'true' })
    const join = async () => {
      const [{ email, password }, browser] = [newUser(), secretive.browser()]
      await browser.post('/v1/auth/register', { email, password })
      await browser.post('/v1/auth/email-verification/confirm', { token: (await smtp.mailTo(email)).token })
      browser.accessToken = (await browser.post('/v1/auth/login', { email, password })).body.access_token
      return { email, password, browser }
    }
    const [eve, taken] = [await join(), (await join()).email]
    await done(secretive)
    const told = []
    for (const email of [newUser().email, taken]) {
      // As many as registrations may have; mails of a change are counted for themselves.
      for (let i = 0; i < 5; i++) await secretive.browser().post('/v1/auth/register', { ...newUser(), email })
      await done(secretive)
      await smtp.answer(email, '550 5.1.1 No such mailbox')
      for (let i = 0; i < 6; i++) t.equal((await eve.browser.post('/v1/me/email', { password: eve.password, email })).status, 202)
      await done(secretive)
      const { audit_events: seen } = (await eve.browser.get('/v1/me/export')).body
      told.push(seen.filter(({ type }: { type: string }) => type === 'mail.failed').map(({ detail }: { detail: object }) => detail))
    }
    const [ofNobody = [], ofBoth = []] = told
    t.strictSame(ofNobody, Array(5).fill({ kind: 'email_change', reason: 'refused' }))
    t.strictSame(ofBoth.slice(5), ofNobody)
  })

  t.test('that tell what happened go to the address that the account had then, however late', async t => {
    const [ada, other, thief] = [newUser(), newUser().email, service.browser()]
    await service.browser().post('/v1/auth/register', ada)
    await service.browser().post('/v1/auth/email-verification/confirm', { token: (await smtp.mailTo(ada.email)).token, password: ada.password })
    await smtp.answer(ada.email, '451 4.7.1 Greylisted, try again later', 2)
    thief.accessToken = (await thief.post('/v1/auth/login', ada)).body.access_token
    await failed(service)
    await thief.post('/v1/me/password', { current_password: ada.password, new_password: 'a phrase of the thief' })
    await thief.post('/v1/me/email', { password: 'a phrase of the thief', email: other })
    t.equal((await thief.post('/v1/auth/email-verification/confirm', { token: (await smtp.mailTo(other)).token })).status, 204)
    await until(service.url, 'select from jobs where attempts = 0', row => row === undefined)
    await again(service)
    await done(service)
    t.strictSame(smtp.all().filter(({ to }) => to === other).length, 1)
    t.strictSame(smtp.all().filter(({ to }) => to === ada.email).map(({ subject }) => /Confirm|sign-in|password|address/.exec(subject)?.[0]).sort(), ['Confirm', 'address', 'address', 'password', 'sign-in'])
  })

  t.test('are tried again where it is not the recipient who is refused', async t => {
    // Many servers judge the client and the sender no sooner than they hear of the recipient.
    const answers = ['554 5.7.1 relay@example.com: Relay access denied', '504 5.5.2 <localhost>: Helo command rejected: need fully-qualified hostname', '550 5.1.8 <login@example.com>: Sender address rejected: Domain not found', '503 Bad sequence of commands']
    for (const answer of answers) {
      await smtp.answer('relay@example.com', answer, 1)
      await post(service, reset('relay@example.com'))
      await failed(service)
      await again(service)
      t.match(await smtp.mailTo('relay@example.com'), { to: 'relay@example.com' }, answer)
      await done(service)
    }
  })

  t.test('that are expired are given up, and only those', async t => {
    await smtp.answer('late@example.com', '451 4.7.1 Try again later')
    await post(service, reset('late@example.com'))
    await failed(service)
    await service.sql('update jobs set expires_at = now()')
    await again(service)
    await done(service)
    t.strictSame((await events(service)).at(-1), { kind: 'password_reset', reason: 'expired' })
  })

  t.test('whose arrival was not confirmed come again as the same mail', async t => {
    await smtp.answer('twice@example.com', 'cut', 1)
    await post(service, reset('twice@example.com'))
    await failed(service)
    await again(service)
    await done(service)
    const [first, second, ...more] = smtp.all().filter(({ to }) => to === 'twice@example.com')
    t.ok(first && second && first.messageId === second.messageId)
    t.strictSame(more, [])
  })

  t.test('leave nothing secret in the log, and are counted', async t => {
    for (const { logs } of [service, other]) t.notMatch(JSON.stringify(logs), secrets)
    const { text } = await browser.get('/metrics')
    t.match(text, /^latchkey_mails_total\{kind="email_verification",result="sent"\} \d/m)
    t.match(text, /^latchkey_jobs\{kind="mail"\} \d/m)
    t.match(text, /^latchkey_jobs_oldest_seconds\{kind="webhook"\} 0$/m)
  })
})

t.test('a mail server', async t => {
  const smtp = await smtpServer(t)
  const service = await build(t, { SMTP_URL: smtp.url, MAIL_FROM: from })

  t.test('that is down delays nobody, and nothing is lost', async t => {
    await smtp.kill()
    const ada = newUser()
    t.equal((await service.browser().post('/v1/auth/register', ada)).status, 201)
    for (let attempts = 1; attempts <= 4; attempts++) {
      await failed(service, attempts)
      await service.sql('update jobs set run_at = now()')
    }
    const waits = service.logs.filter(({ msg }) => msg === 'job failed; retrying').map(({ seconds }) => Number(seconds))
    t.ok(waits.length >= 4)
    for (const [index, wait] of waits.entries()) t.ok(wait >= 4 * 2 ** index && wait <= 6 * 2 ** index, `${wait} s after attempt ${index + 1}`)
    await smtp.start()
    await service.sql('update jobs set run_at = now()')
    t.match(await smtp.mailTo(ada.email), { to: ada.email })
    await done(service)
    t.equal(smtp.all().length, 1)
    t.strictSame(await events(service), [])
    t.match(service.logs.find(({ msg }) => msg === 'job failed; retrying'), { err: { type: 'NotSent', message: /ECONN/ } })
  })

  t.test('that is down is tried with one mail at a time, and gets all of them soon after it is back', async t => {
    const other = await build(t, { SMTP_URL: smtp.url, MAIL_FROM: from })
    const people = Array.from({ length: 60 }, (_, index) => `queue-${index}@example.com`)
    const attempts = async () => (await other.sql<{ attempts: number }>('select coalesce(sum(attempts), 0)::int as attempts from jobs'))[0]?.attempts ?? 0
    await smtp.kill()
    await post(other, ...people.map(reset))
    await until<{ begun: number }>(other.url, 'select count(*)::int as begun from jobs where attempts > 0', row => (row?.begun ?? 0) > 0)
    const began = performance.now()
    for (let round = 0; round < 20; round++) {
      other.app.jobs.wake('mail')
      await pause(300)
    }
    const [tried, seconds] = [await attempts(), (performance.now() - began) / 1_000]
    t.ok(tried > 1 && tried <= 4 + 1 + seconds / 5, `${tried} attempts in ${seconds} s`)
    await smtp.start()
    for (const address of people) await smtp.mailTo(address)
    await done(other)
    t.equal(smtp.all().filter(({ to }) => to.startsWith('queue-')).length, people.length)
  })

  t.test('that is down while the key-encryption key is replaced gets what was written before', async t => {
    await smtp.kill()
    const fresh = randomBytes(32)
    const [ada, url] = [newUser(), await createDatabase(t)]
    const instance = async (...keys: Buffer[]) => await build(t, { SMTP_URL: smtp.url, MAIL_FROM: from, KEY_ENCRYPTION_KEY: keys.map(key => key.toString('base64')).join() }, { url })
    const old = await instance(keyEncryptionKey)
    await old.browser().post('/v1/auth/register', ada)
    await failed(old)
    await old.app.close()
    const both = await instance(fresh, keyEncryptionKey)
    await until<{ sealed: Buffer }>(url, 'select sealed from jobs', row => row !== undefined && isSealedWith(fresh, row.sealed))
    await both.app.close()
    await smtp.start()
    await again(await instance(fresh))
    t.match((await smtp.mailTo(ada.email)).link, /#token=lkl_/)
  })

  t.test('that stalls delays nobody, and no end of the service', async t => {
    const stalled = await build(t, { SMTP_URL: smtp.url, MAIL_FROM: from })
    smtp.freeze()
    const ada = newUser()
    const began = performance.now()
    t.equal((await stalled.browser().post('/v1/auth/register', ada)).status, 201)
    await until<{ attempts: number }>(stalled.url, 'select attempts from jobs', row => row?.attempts === 1)
    t.equal((await stalled.browser().post('/v1/auth/login', ada)).status, 200)
    t.ok(performance.now() - began < 10_000, 'which is how long the server is waited for')
    const closing = performance.now()
    await stalled.app.close()
    t.ok(performance.now() - closing < 10_000, 'nor is it then')
    const [left] = await sql<{ jobs: number }>(stalled.url, 'select count(*)::int as jobs from jobs')
    t.ok(left && left.jobs > 0)
    smtp.thaw()
    t.notMatch(JSON.stringify(stalled.logs), secrets)
  })

  t.test('that an instance dies over gets every mail, and those that were under way at most twice', async t => {
    const url = await createDatabase(t)
    const port = await freePort()
    const env = { DATABASE_URL: url, KEY_ENCRYPTION_KEY: keyEncryptionKey.toString('base64'), SMTP_URL: smtp.url, MAIL_FROM: from }
    const first = start(t, temporaryFolder(t), env, port)
    await ready(first)
    const people = Array.from({ length: 150 }, (_, index) => `wave-${index}@example.com`)
    const before = smtp.all().length
    await sql(url, 'select enqueue_mail(null, sealed, 3600) from unnest($1::bytea[]) as sealed', [people.map(to => sealMail([keyEncryptionKey], reset(to)))])
    await smtp.total(before + 40)
    first.child.kill('SIGKILL')
    await first.ended
    const [{ left = 0 } = {}] = await sql<{ left: number }>(url, 'select count(*)::int as left from jobs')
    t.ok(left > 0, `${left} were left`)
    const second = await build(t, { SMTP_URL: smtp.url, MAIL_FROM: from }, { url })
    await sql(url, 'update jobs set run_at = now() where attempts > 0')
    await done(second)
    const mails = smtp.all().filter(({ to }) => to.startsWith('wave-'))
    t.strictSame([...new Set(mails.map(({ to }) => to))].sort(), people.sort())
    t.ok(mails.length <= people.length + 4, `${mails.length} came`)
    t.equal(new Set(mails.map(({ messageId }) => messageId)).size, people.length)
    t.notMatch(first.output(), secrets)
  })

  t.test('that takes mails while the database is away gets none of them twice', async t => {
    const url = await createDatabase(t)
    const database = new URL(url).pathname.slice(1)
    const service = await build(t, { SMTP_URL: smtp.url, MAIL_FROM: from }, { url })
    const people = Array.from({ length: 3 }, (_, index) => `away-${index}@example.com`)
    const arrived = () => smtp.all().filter(({ to }) => to.startsWith('away-'))
    smtp.freeze()
    await post(service, ...people.map(reset))
    await until(url, 'select count(*)::int as begun from jobs where attempts > 0', (row: { begun: number } | undefined) => row?.begun === 3)
    await sql(named(url, 'postgres'), `alter database ${database} allow_connections false`)
    await sql(named(url, 'postgres'), 'select pg_terminate_backend(pid) from pg_stat_activity where datname = $1', [database])
    smtp.thaw()
    for (const address of people) await smtp.mailTo(address)
    // A try to write down that they were sent.
    for (const end = Date.now() + 500; Date.now() < end;) await pause(50)
    await sql(named(url, 'postgres'), `alter database ${database} allow_connections true`)
    await done(service)
    t.equal(arrived().length, 3)
  })

  t.test('that wants a login gets it, and one that refuses it costs nobody a mail', async t => {
    const login = { user: 'login@orders', password: 'p:a/s@s' }
    const strict = await smtpServer(t, { login })
    const service = await build(t, { SMTP_URL: strict.url, MAIL_FROM: from })
    await strict.answer('AUTH', '535 5.7.8 Bad credentials', 1)
    await post(service, reset('ada@example.com'))
    await failed(service)
    await again(service)
    t.match(await strict.mailTo('ada@example.com'), { user: login.user })
    await done(service)
    t.strictSame(await events(service), [])
    t.notMatch(JSON.stringify(service.logs), /p:a|cDph/)
  })
})

t.test('without a mail server', async t => {
  t.test('development shows the mail with its link in one line of the log', async t => {
    const service = await build(t)
    const ada = newUser()
    await service.browser().post('/v1/auth/register', ada)
    await done(service)
    t.match(service.logs.filter(({ mail }) => mail !== undefined), [{ level: 30, mail: { kind: 'email_verification', to: ada.email, language: 'en', subject: /^Confirm/, link: /#token=lkl_/ } }])
  })

  t.test('production makes no mail, and says what does not work then', async t => {
    const url = await createDatabase(t)
    const service = await build(t, { NODE_ENV: 'production', DATABASE_URL: url, ISSUER_URL: 'https://auth.example.com', ARGON2_MEMORY_KIB: '7168', ARGON2_TIME_COST: '5' }, { url })
    t.equal(service.app.mailer.sealMail(reset('ada@example.com')), undefined)
    t.match(service.logs.filter(({ level }) => level === 40).map(({ msg }) => msg).join('\n'), /^No mail is sent, for there is no SMTP_URL/m)
    await sql(url, 'select enqueue_mail(null, $1, $2)', [sealMail([keyEncryptionKey], reset('ada@example.com')), notificationLifetimeSeconds])
    await failed(service)
    t.notMatch(JSON.stringify(service.logs), secrets)
  })
})
