import { build, environment, keyEncryptionKey, newUser } from '../support/app.ts'
import { start } from '../support/command-line.ts'
import { t } from '../support/test.ts'
import { receiver } from '../support/webhook-receiver.ts'
import { smtpServer } from '../support/smtp.ts'
import { waitUntil } from '../support/polling.ts'

// A user's account from registration to deletion. The mail server is down half of the time, and an
// administrator and a webhook observe all events.
t.test('the life of an account', async t => {
  const smtp = await smtpServer(t)
  const mail = {
    SMTP_URL: smtp.url,
    MAIL_FROM: 'Example <login@example.com>',
    REQUIRE_EMAIL_VERIFICATION: 'true',
    SERVICE_NAME: 'Example'
  }
  const service = await build(t, { ...mail, WEBHOOK_PRIVATE_NETWORKS: '127.0.0.0/8' })
  const inbox = await receiver(t)

  const administrator = { email: 'boss@example.com', password: 'the keys of the house' }
  const { child, end } = start(
    t,
    ['users', 'create', '--email', administrator.email, '--role', 'admin', '--password-stdin', '--json'],
    {
      ...environment,
      ...mail,
      KEY_ENCRYPTION_KEY: keyEncryptionKey.toString('base64'),
      DATABASE_URL: service.url
    }
  )
  child.stdin.end(administrator.password)
  t.match(await end(), { code: 0, stdout: /"roles":\s*\[\s*"admin"\s*\]/ })
  const admin = service.browser()
  admin.accessToken = (await admin.post('/v1/auth/login', administrator)).body.access_token
  const { body: webhook } = await admin.post('/v1/admin/webhooks', {
    url: inbox.url,
    events: ['user.*', 'session.*', 'login.succeeded']
  })

  const [firstAddress, secondAddress] = [newUser().email, newUser().email]
  const password = 'a long phrase of my own'
  const ada = service.browser()
  const confirm = async (token: string, proof: object = {}) =>
    (await service.browser().post('/v1/auth/email-verification/confirm', { token, ...proof })).status
  const signIn = async (email: string, password: string) => {
    const browser = service.browser()
    const answer = await browser.post('/v1/auth/login', { email, password })
    browser.accessToken = answer.body.access_token
    return { browser, ...answer }
  }

  await t.test('begins with a registration that is confirmed', async t => {
    t.match(
      await ada.post(
        '/v1/auth/register',
        { email: firstAddress, password, name: 'Ada' },
        { 'accept-language': 'de' }
      ),
      { status: 202, body: { status: 'verification_required' } }
    )
    t.match(await signIn(firstAddress, password), { status: 403, body: { code: 'email_not_verified' } })
    const { subject, token } = await smtp.mailTo(firstAddress)
    t.match(subject, /Example/)
    t.equal(await confirm(token, { password }), 204)
    t.match(await signIn(firstAddress, password), {
      status: 200,
      body: { user: { email: firstAddress, name: 'Ada', email_verified: true } }
    })
    t.match(
      (await smtp.mailTo(firstAddress)).html,
      /lang="de"/,
      'the notification of the sign-in is in the language of the registration'
    )
  })

  await t.test(
    'continues with a magic link, which arrives when the mail server is available again',
    async t => {
      await smtp.kill()
      t.equal((await ada.post('/v1/auth/magic-link', { email: firstAddress })).status, 202)
      await waitUntil('the mail was attempted', async () =>
        service.logs.some(({ msg }) => msg === 'job failed; retrying')
      )
      await smtp.start()
      const { token } = await smtp.mailTo(firstAddress)
      const { status, body } = await ada.post('/v1/auth/magic-link/confirm', { token })
      t.equal(status, 200)
      ada.accessToken = body.access_token
    }
  )

  await t.test(
    'includes a change of address, its undo and a reset, while the mail server is down',
    async t => {
      t.equal((await ada.post('/v1/me/email', { password, email: secondAddress })).status, 202)
      t.match(await smtp.mailTo(firstAddress), {
        subject: /^Ihre E-Mail-Adresse bei Example soll geändert werden$/,
        link: undefined
      })
      t.equal(await confirm((await smtp.mailTo(secondAddress)).token, { password }), 204)
      t.match((await ada.get('/v1/me')).body, { email: secondAddress })
      const { token: undoToken } = await smtp.mailTo(firstAddress)
      await smtp.kill()
      t.equal(await confirm(undoToken), 204)
      t.equal((await ada.get('/v1/me')).status, 401)
      t.match(await signIn(firstAddress, password), { status: 401, body: { code: 'invalid_credentials' } })
      await smtp.start()
      const reset = await smtp.mailTo(firstAddress)
      t.match(reset.link, /\/password-reset/, 'the mail was enqueued while the mail server was down')
      t.equal(
        (
          await service
            .browser()
            .post('/v1/auth/password-reset/confirm', {
              token: reset.token,
              new_password: 'another phrase of my own'
            })
        ).status,
        204
      )
      t.equal((await signIn(firstAddress, password)).status, 401)
    }
  )

  await t.test('includes a list of sessions, of which one is ended', async t => {
    const current = await signIn(firstAddress, 'another phrase of my own')
    const other = await signIn(firstAddress, 'another phrase of my own')
    const { items } = (await current.browser.get('/v1/me/sessions')).body
    t.equal(items.length, 2)
    t.equal((await current.browser.delete(`/v1/me/sessions/${other.body.session_id}`)).status, 204)
    t.equal((await other.browser.get('/v1/me')).status, 401)
    t.equal((await current.browser.get('/v1/me')).status, 200)
  })

  await t.test('ends with a data export and the deletion', async t => {
    const { browser, body: { user } } = await signIn(firstAddress, 'another phrase of my own')
    t.match((await browser.get('/v1/me/export')).body, { user: { id: user.id, email: firstAddress } })
    t.equal((await browser.send('DELETE', '/v1/me', { password: 'another phrase of my own' })).status, 204)
    t.equal((await signIn(firstAddress, 'another phrase of my own')).status, 401)
    await waitUntil('the last mail arrived', async () =>
      smtp.all().some(({ to, subject }) => to === firstAddress && /gelöscht|deleted/i.test(subject))
    )

    const { items } = (await admin.get(`/v1/admin/audit-events?user_id=${user.id}&limit=100`)).body
    const recordedTypes = items.map(({ type }: { type: string }) => type).reverse()
    const expectedTypes = [
      'user.registered', 'user.verified', 'login.succeeded', 'login.succeeded', 'user.email_changed',
      'user.email_changed', 'session.ended', 'login.failed', 'user.password_reset', 'login.failed',
      'login.succeeded', 'login.succeeded', 'session.ended', 'login.succeeded', 'user.exported',
      'session.ended', 'user.deleted'
    ]
    t.strictSame(
      recordedTypes.filter(
        (type: string, index: number) => !(type === 'session.ended' && recordedTypes[index - 1] === type)
      ),
      expectedTypes
    )
    t.notMatch(
      JSON.stringify(items),
      new RegExp(`${firstAddress}|${secondAddress}|127\\.0\\.0\\.1`),
      'the events keep only ids'
    )

    const sentTypes = recordedTypes.filter((type: string) => type !== 'login.failed')
    await waitUntil(
      'the webhook received all events',
      async () => inbox.requests.filter(({ text }) => text.includes(user.id)).length >= sentTypes.length
    )
    t.strictSame(
      inbox.requests
        .filter(({ text }) => text.includes(user.id))
        .map(({ type }) => type)
        .sort(),
      sentTypes.sort()
    )
    t.strictSame(
      (await admin.get(`/v1/admin/webhooks/${webhook.id}/deliveries?status=failed`)).body.items,
      []
    )
    t.strictSame(await service.sql("select from audit_events where type = 'mail.failed'"), [])
    t.strictSame(await service.sql('select from jobs'), [])
  })
})
