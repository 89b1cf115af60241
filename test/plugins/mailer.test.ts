import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { setTimeout as pause } from 'node:timers/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { freePort } from '../../src/database/embedded/server.ts'
import { notificationLifetimeSeconds, sealMail, enqueueMail, type Mail } from '../../src/mail/outbox.ts'
import { isSealedWith } from '../../src/crypto/sealing.ts'
import { enqueued } from '../../src/jobs/queue.ts'
import { build, keyEncryptionKey, newUser, type Service } from '../support/app.ts'
import { sumCounter } from '../support/metrics.ts'
import { waitFor, waitUntil } from '../support/polling.ts'
import { createDatabase, named, sql } from '../support/postgres.ts'
import { ready, start } from '../support/process.ts'
import { smtpServer } from '../support/smtp.ts'
import { temporaryFolder } from '../support/temporary-folder.ts'
import { t } from '../support/test.ts'

const from = '"Orders, Inc." <login@example.com>'
const resetMail = (to: string): Mail => ({ kind: 'password_reset', token: `lkl_${to}`, lives: 1_800, to })

/** Enqueues mails. */
const enqueue = async ({ app }: Service, ...mails: Mail[]) => {
  for (const mail of mails) await enqueueMail(app.db, app.mailer.sealMail(mail), undefined)
}

/** Repeats a query until its first row meets the condition. */
async function until<Row extends object> (
  url: string, query: string, isMet: (row: Row | undefined) => boolean
): Promise<void> {
  let row: Row | undefined
  await waitUntil(() => `still ${JSON.stringify(row)}: ${query}`, async () => {
    [row] = await sql<Row>(url, query)
    return isMet(row)
  })
}

const untilQueueIsEmpty = async ({ url }: Service) =>
  await until<{ jobs: number }>(url, 'select count(*)::int as jobs from jobs', row => row?.jobs === 0)
const untilAttempted = async ({ url }: Service, attempts = 1) =>
  await until<{ attempts: number, wait: number }>(
    url, 'select attempts, extract(epoch from run_at - now())::float8 as wait from jobs',
    row => row?.attempts === attempts && row.wait < 100
  )
/** Makes every job due at once. */
const retryNow = async (service: Service) => {
  await service.sql('update jobs set run_at = now()')
  service.app.db.publish(enqueued, 'mail')
}

const failureEvents = async ({ sql }: Service) =>
  (
    await sql<{ detail: object }>("select detail from audit_events where type = 'mail.failed' order by id")
  ).map(({ detail }) => detail)

/** A log must never contain these: a token, or a recipient's address. */
const secrets = /lkl_|@example\.com|#token/

t.test('mails', async t => {
  const smtp = await smtpServer(t)
  const options = {
    SMTP_URL: smtp.url,
    MAIL_FROM: from,
    SERVICE_NAME: 'Orders',
    ISSUER_URL: 'https://auth.example.com'
  }
  const service = await build(t, options)
  const other = await build(t, options, { url: service.url })
  const browser = service.browser()

  t.test('have the link of a request, as text and as HTML, and the configured sender', async t => {
    const ada = newUser()
    await browser.post('/v1/auth/register', ada)
    const mail = await smtp.mailTo(ada.email)
    t.match(mail, {
      from: 'login@example.com',
      subject: 'Confirm your email address for Orders',
      link: /^https:\/\/auth\.example\.com\/email-verification#token=lkl_[\w-]{43}$/
    })
    t.match(mail.headers, {
      from: '"Orders, Inc." <login@example.com>',
      to: ada.email,
      'auto-submitted': 'auto-generated',
      'x-auto-response-suppress': 'All',
      'content-language': 'en',
      date: /2\d\d\d/
    })
    t.match(mail.messageId, /^<[0-9a-f-]{36}@auth\.example\.com>$/)
    t.match(mail.html, `#token&#x3D;${mail.token}`)
    t.notOk('reply-to' in mail.headers || 'x-mailer' in mail.headers)
    t.equal(
      (
        await service
          .browser()
          .post('/v1/auth/email-verification/confirm', { token: mail.token, password: ada.password })
      ).status,
      204
    )
  })

  t.test('are in the language of the request', async t => {
    const ada = newUser()
    await browser.send('POST', '/v1/auth/register', ada, { 'accept-language': 'fr, de-AT;q=0.9, en;q=0.5' })
    t.match(await smtp.mailTo(ada.email), {
      subject: 'Bestätigen Sie Ihre E-Mail-Adresse für Orders',
      text: /24 Stunden/,
      headers: { 'content-language': 'de' }
    })
  })

  t.test('are not sent to an address without an account, and the request leaves no trace', async t => {
    const before = smtp.all().length
    t.equal((await browser.post('/v1/auth/password-reset', { email: 'nobody@example.com' })).status, 202)
    await untilQueueIsEmpty(service)
    t.equal(smtp.all().length, before)
    t.strictSame(await failureEvents(service), [])
  })

  t.test('arrive once each if two instances share the queue', async t => {
    const people = Array.from({ length: 200 }, (_, index) => `shared-${index}@example.com`)
    await Promise.all([
      enqueue(service, ...people.slice(0, 100).map(resetMail)),
      enqueue(other, ...people.slice(100).map(resetMail))
    ])
    await untilQueueIsEmpty(service)
    t.strictSame(smtp.all().map(({ to }) => to).filter(to => to.startsWith('shared-')).sort(), people.sort())
    const countSent = async ({ app }: Service) =>
      await sumCounter([app], 'latchkey_mails_total', { kind: 'password_reset', result: 'sent' })
    const sent = await Promise.all([service, other].map(countSent))
    t.ok(Math.min(...sent) > 0, `both instances sent mails: ${sent.join(' and ')}`)
  })

  t.test('are limited to fifteen notifications of a kind, then one every five minutes', async t => {
    const spellings = ['Mail@example.com', 'mail@EXAMPLE.com', 'mail@example.com']
    const notifications = (count: number): Mail[] =>
      Array.from({ length: count }, (_, index) => ({ kind: 'new_sign_in', to: spellings[index % 3] ?? '' }))
    const countArrived = () => smtp.all().filter(({ to }) => to.toLowerCase() === 'mail@example.com').length
    const countLimited = async () =>
      await sumCounter([service.app, other.app], 'latchkey_mails_total', { result: 'limited' })
    await Promise.all([enqueue(service, ...notifications(20)), enqueue(other, ...notifications(20))])
    await untilQueueIsEmpty(service)
    t.strictSame([countArrived(), await countLimited()], [15, 25])
    await enqueue(service, { kind: 'password_changed', to: 'mail@example.com' })
    await untilQueueIsEmpty(service)
    t.equal(countArrived(), 16, 'each kind is counted separately')
    const [row] = await service.sql<{ text: string }>(
      "select string_agg(encode(key, 'escape'), ' ') as text from mail_buckets"
    )
    t.notMatch(row?.text, /example|new_sign_in/)

    for (const more of [1, 2]) {
      await service.sql("update mail_buckets set empty_at = empty_at - interval '5 minutes'")
      await enqueue(service, ...notifications(4))
      await untilQueueIsEmpty(service)
      t.equal(countArrived(), 16 + more)
    }
  })

  t.test('are not counted if an administrator or the confirmation of an address caused them', async t => {
    const kinds = ['password_reset', 'invitation', 'email_changed', 'account_deleted'] as const
    for (const kind of kinds) {
      const mail: Mail = {
        kind,
        to: `${kind}@example.com`,
        ...(kind === 'password_reset' || kind === 'invitation'
          ? { token: 'lkl_x', lives: 60 }
          : { isUncounted: true })
      }
      await enqueue(service, ...Array<Mail>(20).fill(mail))
    }
    await untilQueueIsEmpty(service)
    for (const kind of kinds) {
      t.equal(smtp.all().filter(({ to }) => to === `${kind}@example.com`).length, 20, kind)
    }
  })

  t.test('are all sent if an earlier version enqueued them', async t => {
    const kinds = ['email_verification', 'password_reset', 'magic_link', 'email_change'] as const
    for (const kind of kinds) {
      const mails = Array.from({ length: 20 }, () =>
        sealMail([keyEncryptionKey], { kind, to: `queue-of-${kind}@example.com`, token: 'lkl_x', lives: 60 })
      )
      await service.sql(
        `
                insert into jobs (kind, sealed, created_at, expires_at)
                select 'mail', sealed, now() - interval '2 hours', now() + interval '1 hour'
                from unnest($1::bytea[]) as sealed`,
        [mails]
      )
    }
    await untilQueueIsEmpty(service)
    for (const kind of kinds) {
      t.equal(smtp.all().filter(({ to }) => to === `queue-of-${kind}@example.com`).length, 20, kind)
    }
  })

  t.test('are counted once, with any number of attempts', async t => {
    await smtp.answer('busy@example.com', '451 4.7.1 busy@example.com: try again later', 5)
    await service.sql('delete from mail_buckets')
    await enqueue(service, { kind: 'new_sign_in', to: 'busy@example.com' })
    for (let attempts = 1; attempts <= 5; attempts++) {
      await untilAttempted(service, attempts)
      await retryNow(service)
    }
    await untilQueueIsEmpty(service)
    t.match(await service.sql("select empty_at < now() + interval '5 minutes' as once from mail_buckets"), [
      { once: true }
    ])
    t.match(await smtp.mailTo('busy@example.com'), { subject: /sign-in/ })
  })

  t.test(
    'are abandoned if the server rejects the recipient; both logs record it without the address',
    async t => {
      await smtp.answer('gone@example.com', '550 5.1.1 No mailbox gone@example.com')
      await enqueue(service, resetMail('gone@example.com'))
      await untilQueueIsEmpty(service)
      t.strictSame(await failureEvents(service), [{ kind: 'password_reset', reason: 'refused' }])
      t.match(
        [...service.logs, ...other.logs].find(({ reason }) => reason === 'refused'),
        { level: 50, mail: 'password_reset', status: 550, job: /^[0-9a-f-]{36}$/ }
      )
    }
  )

  t.test('to a new address do not reveal whether it is taken, even if rejected or dropped', async t => {
    const strictService = await build(t, { ...options, REQUIRE_EMAIL_VERIFICATION: 'true' })
    const register = async () => {
      const [{ email, password }, browser] = [newUser(), strictService.browser()]
      await browser.post('/v1/auth/register', { email, password })
      await browser.post('/v1/auth/email-verification/confirm', { token: (await smtp.mailTo(email)).token })
      browser.accessToken = (await browser.post('/v1/auth/login', { email, password })).body.access_token
      return { email, password, browser }
    }
    const [eve, taken] = [await register(), (await register()).email]
    await untilQueueIsEmpty(strictService)
    const failures = []
    for (const email of [newUser().email, taken]) {
      // Registrations use up their own limit. Mails of a change are counted separately.
      for (let i = 0; i < 5; i++) {
        await strictService.browser().post('/v1/auth/register', { ...newUser(), email })
      }
      await untilQueueIsEmpty(strictService)
      await smtp.answer(email, '550 5.1.1 No such mailbox')
      for (let i = 0; i < 6; i++) {
        t.equal((await eve.browser.post('/v1/me/email', { password: eve.password, email })).status, 202)
      }
      await untilQueueIsEmpty(strictService)
      const { audit_events: seen } = (await eve.browser.get('/v1/me/export')).body
      failures.push(
        seen
          .filter(({ type }: { type: string }) => type === 'mail.failed')
          .map(({ detail }: { detail: object }) => detail)
      )
    }
    const [ofFreeAddress = [], ofBothAddresses = []] = failures
    t.strictSame(ofFreeAddress, Array(5).fill({ kind: 'email_change', reason: 'refused' }))
    t.strictSame(ofBothAddresses.slice(5), ofFreeAddress)
  })

  t.test('that notify go to the address that the account had then, even if sent late', async t => {
    const [ada, other, thief] = [newUser(), newUser().email, service.browser()]
    await service.browser().post('/v1/auth/register', ada)
    await service
      .browser()
      .post('/v1/auth/email-verification/confirm', {
        token: (await smtp.mailTo(ada.email)).token,
        password: ada.password
      })
    await smtp.answer(ada.email, '451 4.7.1 Greylisted, try again later', 2)
    thief.accessToken = (await thief.post('/v1/auth/login', ada)).body.access_token
    await untilAttempted(service)
    await thief.post('/v1/me/password', {
      current_password: ada.password,
      new_password: 'a phrase of the thief'
    })
    await thief.post('/v1/me/email', { password: 'a phrase of the thief', email: other })
    t.equal(
      (await thief.post('/v1/auth/email-verification/confirm', { token: (await smtp.mailTo(other)).token }))
        .status,
      204
    )
    await until(service.url, 'select from jobs where attempts = 0', row => row === undefined)
    await retryNow(service)
    await untilQueueIsEmpty(service)
    t.strictSame(smtp.all().filter(({ to }) => to === other).length, 1)
    t.strictSame(
      smtp
        .all()
        .filter(({ to }) => to === ada.email)
        .map(({ subject }) => /Confirm|sign-in|password|address/.exec(subject)?.[0])
        .sort(),
      ['Confirm', 'address', 'address', 'password', 'sign-in']
    )
  })

  t.test('are tried again if the server rejects the client or the sender, and the log says why', async t => {
    // Many servers reject the client or the sender only when they are told a recipient.
    const answers = [
      '550 relay not permitted',
      "553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)",
      '550 Sender verify failed',
      '550-No Such User Here 550 Sender verify failed',
      '554 Message rejected: Email address is not verified',
      '550 5.4.1 Recipient address rejected: Access denied',
      '552 5.2.2 Mailbox full',
      '550 Requested action not taken: mailbox unavailable',
      '554 5.7.1 relay@example.com: Relay access denied',
      '504 5.5.2 <localhost>: Helo command rejected: need fully-qualified hostname',
      '550 5.1.8 <login@example.com>: Sender address rejected: Domain not found',
      '503 Bad sequence of commands'
    ]
    for (const answer of answers) {
      await smtp.answer('relay@example.com', answer, 1)
      await enqueue(service, resetMail('relay@example.com'))
      await untilAttempted(service)
      await retryNow(service)
      t.match(await smtp.mailTo('relay@example.com'), { to: 'relay@example.com' }, answer)
      await untilQueueIsEmpty(service)
      const words = answer.replace(/^(\d{3}).*?((?:rejected|permitted|failed|rcpthosts).*)$/, '$2')
      // Another instance of this test may have run the job.
      const failures = service.allLogs().filter(({ msg }) => msg === 'job failed; retrying')
      const messages = failures.map(({ err }) => (err as { message: string }).message)
      t.ok(messages.some(message => message.includes(words.replaceAll(/\S*@\S*/g, '…'))), messages.join())
    }
  })

  t.test('are abandoned if the server certainly rejects the recipient', async t => {
    const answers = [
      '550 5.1.1 <gone@example.com>: Recipient address rejected: User unknown in relay recipient table',
      '550 no such user', '550 Unknown user', '550 sorry, no mailbox here by that name. (#5.1.1)',
      '556 5.1.10 Recipient address has null MX', '550 5.2.1 The email account is disabled',
      '550 5.0.0 User unknown', "550 mailbox doesn't exist"
    ]
    for (const answer of answers) {
      const before = (await failureEvents(service)).length
      await smtp.answer('gone@example.com', answer, 1)
      await enqueue(service, resetMail('gone@example.com'))
      await untilQueueIsEmpty(service)
      t.strictSame((await failureEvents(service)).slice(before), [
        { kind: 'password_reset', reason: 'refused' }
      ], answer)
    }
  })

  t.test('are abandoned when they have expired', async t => {
    await smtp.answer('late@example.com', '451 4.7.1 Try again later')
    await enqueue(service, resetMail('late@example.com'))
    await untilAttempted(service)
    await service.sql('update jobs set expires_at = now()')
    await retryNow(service)
    await untilQueueIsEmpty(service)
    t.strictSame((await failureEvents(service)).at(-1), { kind: 'password_reset', reason: 'expired' })
  })

  t.test('are sent again with the same message id if the server did not confirm them', async t => {
    await smtp.answer('twice@example.com', 'cut', 1)
    await enqueue(service, resetMail('twice@example.com'))
    await untilAttempted(service)
    await retryNow(service)
    await untilQueueIsEmpty(service)
    const [first, second, ...more] = smtp.all().filter(({ to }) => to === 'twice@example.com')
    t.ok(first && second && first.messageId === second.messageId)
    t.strictSame(more, [])
  })

  t.test('leave no secret in the log, and are counted in the metrics', async t => {
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

  t.test('that is down delays no request, and no mail is lost', async t => {
    await smtp.kill()
    const ada = newUser()
    t.equal((await service.browser().post('/v1/auth/register', ada)).status, 201)
    for (let attempts = 1; attempts <= 4; attempts++) {
      await untilAttempted(service, attempts)
      await service.sql('update jobs set run_at = now()')
    }
    const waits = service.logs
      .filter(({ msg }) => msg === 'job failed; retrying')
      .map(({ seconds }) => Number(seconds))
    t.ok(waits.length >= 4)
    for (const [index, wait] of waits.entries()) {
      t.ok(wait >= 4 * 2 ** index && wait <= 6 * 2 ** index, `${wait} s after attempt ${index + 1}`)
    }
    await smtp.start()
    await service.sql('update jobs set run_at = now()')
    t.match(await smtp.mailTo(ada.email), { to: ada.email })
    await untilQueueIsEmpty(service)
    t.equal(smtp.all().length, 1)
    t.strictSame(await failureEvents(service), [])
    t.match(
      service.logs.find(({ msg }) => msg === 'job failed; retrying'),
      { err: { type: 'MailDeliveryError', message: /ECONN/ } }
    )
  })

  t.test('that is down is tried with one mail at a time, and gets all mails once it is back', async t => {
    const other = await build(t, { SMTP_URL: smtp.url, MAIL_FROM: from })
    const people = Array.from({ length: 60 }, (_, index) => `queue-${index}@example.com`)
    const countAttempts = async () =>
      (
        await other.sql<{ attempts: number }>('select coalesce(sum(attempts), 0)::int as attempts from jobs')
      )[0]?.attempts ?? 0
    await smtp.kill()
    await enqueue(other, ...people.map(resetMail))
    await until<{ started: number }>(
      other.url,
      'select count(*)::int as started from jobs where attempts > 0',
      row => (row?.started ?? 0) > 0
    )
    const startedAt = performance.now()
    // A wake-up must not cause an attempt for each mail.
    await waitFor(async () => {
      other.app.db.publish(enqueued, 'mail')
      return await countAttempts() > 1
    })
    const [attempts, seconds] = [await countAttempts(), (performance.now() - startedAt) / 1_000]
    t.ok(attempts > 1 && attempts <= 4 + 1 + seconds / 5, `${attempts} attempts in ${seconds} s`)
    await smtp.start()
    for (const address of people) await smtp.mailTo(address)
    await untilQueueIsEmpty(other)
    t.equal(smtp.all().filter(({ to }) => to.startsWith('queue-')).length, people.length)
  })

  t.test('that is down while the key-encryption key is replaced gets the mails enqueued before', async t => {
    await smtp.kill()
    const newKey = randomBytes(32)
    const [ada, url] = [newUser(), await createDatabase(t)]
    const instance = async (...keys: Buffer[]) =>
      await build(
        t,
        {
          SMTP_URL: smtp.url,
          MAIL_FROM: from,
          KEY_ENCRYPTION_KEY: keys.map(key => key.toString('base64')).join()
        },
        { url }
      )
    const old = await instance(keyEncryptionKey)
    await old.browser().post('/v1/auth/register', ada)
    await untilAttempted(old)
    await old.app.close()
    const both = await instance(newKey, keyEncryptionKey)
    await until<{ sealed: Buffer }>(
      url, 'select sealed from jobs',
      row => row !== undefined && isSealedWith(newKey, row.sealed)
    )
    await both.app.close()
    await smtp.start()
    await retryNow(await instance(newKey))
    t.match((await smtp.mailTo(ada.email)).link, /#token=lkl_/)
  })

  t.test('that stalls delays neither requests nor the shutdown', async t => {
    const stalled = await build(t, { SMTP_URL: smtp.url, MAIL_FROM: from })
    smtp.freeze()
    const ada = newUser()
    t.equal((await stalled.browser().post('/v1/auth/register', ada)).status, 201)
    await until<{ attempts: number }>(stalled.url, 'select attempts from jobs', row => row?.attempts === 1)
    t.equal((await stalled.browser().post('/v1/auth/login', ada)).status, 200)
    const closingAt = performance.now()
    await stalled.app.close()
    t.ok(performance.now() - closingAt < 10_000, 'the shutdown does not wait for the mail server')
    const [left] = await sql<{ jobs: number }>(stalled.url, 'select count(*)::int as jobs from jobs')
    t.ok(left && left.jobs > 0)
    smtp.thaw()
    t.notMatch(JSON.stringify(stalled.logs), secrets)
  })

  t.test('gets every mail of an instance that dies, and those being sent at most twice', async t => {
    const url = await createDatabase(t)
    const port = await freePort()
    const env = {
      DATABASE_URL: url,
      KEY_ENCRYPTION_KEY: keyEncryptionKey.toString('base64'),
      SMTP_URL: smtp.url,
      MAIL_FROM: from
    }
    const first = start(t, temporaryFolder(t), env, port)
    await ready(first)
    const people = Array.from({ length: 150 }, (_, index) => `crash-${index}@example.com`)
    const before = smtp.all().length
    await sql(url, 'select enqueue_mail(null, sealed, 3600) from unnest($1::bytea[]) as sealed', [
      people.map(to => sealMail([keyEncryptionKey], resetMail(to)))
    ])
    await smtp.total(before + 40)
    first.child.kill('SIGKILL')
    await first.ended
    const [{ left = 0 } = {}] = await sql<{ left: number }>(url, 'select count(*)::int as left from jobs')
    t.ok(left > 0, `${left} mails are left`)
    const second = await build(t, { SMTP_URL: smtp.url, MAIL_FROM: from }, { url })
    await sql(url, 'update jobs set run_at = now() where attempts > 0')
    await untilQueueIsEmpty(second)
    const mails = smtp.all().filter(({ to }) => to.startsWith('crash-'))
    t.strictSame([...new Set(mails.map(({ to }) => to))].sort(), people.sort())
    t.ok(mails.length <= people.length + 4, `${mails.length} mails arrived`)
    t.equal(new Set(mails.map(({ messageId }) => messageId)).size, people.length)
    t.notMatch(first.output(), secrets)
  })

  t.test('that accepts mails while the database is unreachable gets none of them twice', async t => {
    const url = await createDatabase(t)
    const database = new URL(url).pathname.slice(1)
    const service = await build(t, { SMTP_URL: smtp.url, MAIL_FROM: from }, { url })
    const people = Array.from({ length: 3 }, (_, index) => `away-${index}@example.com`)
    const arrived = () => smtp.all().filter(({ to }) => to.startsWith('away-'))
    smtp.freeze()
    await enqueue(service, ...people.map(resetMail))
    await until(
      url, 'select count(*)::int as started from jobs where attempts > 0',
      (row: { started: number } | undefined) => row?.started === 3
    )
    await sql(named(url, 'postgres'), `alter database ${database} allow_connections false`)
    await sql(
      named(url, 'postgres'),
      'select pg_terminate_backend(pid) from pg_stat_activity where datname = $1', [database]
    )
    smtp.thaw()
    for (const address of people) await smtp.mailTo(address)
    // In this time the service tries to mark them as sent.
    await pause(500)
    await sql(named(url, 'postgres'), `alter database ${database} allow_connections true`)
    await untilQueueIsEmpty(service)
    t.equal(arrived().length, 3)
  })

  t.test('that requires a login gets it, and a rejected login loses no mail', async t => {
    const login = { user: 'login@orders', password: 'p:a/s@s' }
    const strict = await smtpServer(t, { login })
    const service = await build(t, { SMTP_URL: strict.url, MAIL_FROM: from })
    await strict.answer('AUTH', '535 5.7.8 Bad credentials', 1)
    await enqueue(service, resetMail('ada@example.com'))
    await untilAttempted(service)
    await retryNow(service)
    t.match(await strict.mailTo('ada@example.com'), { user: login.user })
    await untilQueueIsEmpty(service)
    t.strictSame(await failureEvents(service), [])
    t.notMatch(JSON.stringify(service.logs), /p:a|cDph/)
  })

  t.test('that takes no password is reported in words', async t => {
    const reasonOf = ({ logs }: Service) => logs.find(({ msg }) => msg === 'job failed; retrying')
    const tokensOnly = await smtpServer(t, { xoauth2: { user: 'login@example.com', token: 'secret-token' } })
    const service = await build(t, { SMTP_URL: tokensOnly.url.replace('@1', ':password@1'), MAIL_FROM: from })
    await enqueue(service, resetMail('ada@example.com'))
    await untilAttempted(service)
    t.match(reasonOf(service), { err: { message: /takes no password to sign in; it may require XOAUTH2/ } })

    const exchange = await smtpServer(t, { login: { user: 'login', password: 'password' } })
    await exchange.answer(
      'AUTH',
      '535 5.7.139 Authentication unsuccessful, basic authentication is disabled.'
    )
    const other = await build(t, { SMTP_URL: exchange.url, MAIL_FROM: from })
    await enqueue(other, resetMail('ada@example.com'))
    await untilAttempted(other)
    t.match(reasonOf(other), { err: { message: /Exchange Online .* SMTP_OAUTH_TOKEN_URL/ } })
  })

  t.test('that requires XOAUTH2 gets an access token', async t => {
    const user = 'login@example.com'
    const oauthServer = await smtpServer(t, { xoauth2: { user, token: 'secret-token' } })
    const requests: string[] = []
    let status = 401
    const issuer = createServer((request, response) => {
      text(request).then(body => {
        requests.push(body)
        response.writeHead(status, { 'content-type': 'application/json' })
        response.end(JSON.stringify(status === 200
          ? { access_token: 'secret-token', expires_in: 3_600, token_type: 'Bearer' }
          : { error: 'invalid_client', error_description: 'AADSTS7000215: Invalid client secret' }))
      }, () => {})
    }).listen(0, '127.0.0.1')
    await once(issuer, 'listening')
    t.teardown(() => { issuer.close() })
    const service = await build(t, {
      SMTP_URL: oauthServer.url,
      MAIL_FROM: from,
      SMTP_OAUTH_TOKEN_URL: `http://127.0.0.1:${(issuer.address() as AddressInfo).port}/token`,
      SMTP_OAUTH_CLIENT_ID: 'latchkey',
      SMTP_OAUTH_CLIENT_SECRET: 'client-secret'
    })
    await enqueue(service, resetMail('ada@example.com'))
    await untilAttempted(service)
    t.match(service.logs.find(({ msg }) => msg === 'job failed; retrying'), {
      err: { message: /no access token .* answered 401, invalid_client, AADSTS7000215/ }
    })
    status = 200
    await retryNow(service)
    t.match(await oauthServer.mailTo('ada@example.com'), { user })
    t.strictSame(Object.fromEntries(new URLSearchParams(requests.at(-1))), {
      grant_type: 'client_credentials',
      client_id: 'latchkey',
      client_secret: 'client-secret',
      scope: 'https://outlook.office365.com/.default'
    })
    t.notMatch(JSON.stringify(service.logs), /client-secret|secret-token/)
  })
})

t.test('without a mail server', async t => {
  t.test('development logs the mail with its link in one line', async t => {
    const service = await build(t)
    const ada = newUser()
    await service.browser().post('/v1/auth/register', ada)
    await untilQueueIsEmpty(service)
    t.match(
      service.logs.filter(({ mail }) => mail !== undefined),
      [
        {
          level: 30,
          mail: {
            kind: 'email_verification',
            to: ada.email,
            language: 'en',
            subject: /^Confirm/,
            link: /#token=lkl_/
          }
        }
      ]
    )
  })

  t.test('production enqueues no mail, and warns about what does not work', async t => {
    const url = await createDatabase(t)
    const service = await build(
      t,
      {
        NODE_ENV: 'production',
        DATABASE_URL: url,
        ISSUER_URL: 'https://auth.example.com',
        ARGON2_MEMORY_KIB: '7168',
        ARGON2_TIME_COST: '5'
      },
      { url }
    )
    t.equal(service.app.mailer.sealMail(resetMail('ada@example.com')), undefined)
    t.match(
      service.logs
        .filter(({ level }) => level === 40)
        .map(({ msg }) => msg)
        .join('\n'),
      /^mails not sent: SMTP_URL is not set/m
    )
    await sql(url, 'select enqueue_mail(null, $1, $2)', [
      sealMail([keyEncryptionKey], resetMail('ada@example.com')), notificationLifetimeSeconds
    ])
    await untilAttempted(service)
    t.notMatch(JSON.stringify(service.logs), secrets)
  })
})
