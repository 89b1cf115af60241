import t from 'tap'
import { build, environment, keyEncryptionKey, newUser } from '../support/app.ts'
import { start } from '../support/command-line.ts'
import { receiver } from '../support/webhook-receiver.ts'
import { smtpServer } from '../support/smtp.ts'
import { waitUntil } from '../support/polling.ts'

const code = (status: number, body: object) => ({ status, body })

// One life from beginning to end, over a mail server that is down for half of it, followed by an administrator and by webhooks.
t.test('the life of an account', async t => {
  const smtp = await smtpServer(t)
  const mail = { SMTP_URL: smtp.url, MAIL_FROM: 'Example <login@example.com>', REQUIRE_EMAIL_VERIFICATION: 'true', SERVICE_NAME: 'Example' }
  const service = await build(t, { ...mail, WEBHOOK_PRIVATE_NETWORKS: '127.0.0.0/8' })
  const inbox = await receiver(t)

  const boss = { email: 'boss@example.com', password: 'the keys of the house' }
  const { child, end } = start(t, ['users', 'create', '--email', boss.email, '--role', 'admin', '--password-stdin', '--json'], { ...environment, ...mail, KEY_ENCRYPTION_KEY: keyEncryptionKey.toString('base64'), DATABASE_URL: service.url })
  child.stdin.end(boss.password)
  t.match(await end(), { code: 0, stdout: /"roles":\s*\[\s*"admin"\s*\]/ })
  const admin = service.browser()
  admin.accessToken = (await admin.post('/v1/auth/login', boss)).body.access_token
  const { body: webhook } = await admin.post('/v1/admin/webhooks', { url: inbox.url, events: ['user.*', 'session.*', 'login.succeeded'] })

  const [first, second] = [newUser().email, newUser().email]
  const password = 'a long phrase of my own'
  const ada = service.browser()
  const confirm = async (token: string, proof: object = {}) => (await service.browser().post('/v1/auth/email-verification/confirm', { token, ...proof })).status
  const signIn = async (email: string, password: string) => {
    const browser = service.browser()
    const answer = await browser.post('/v1/auth/login', { email, password })
    browser.accessToken = answer.body.access_token
    return { browser, ...answer }
  }

  await t.test('begins when the address is proved', async t => {
    t.match(await ada.post('/v1/auth/register', { email: first, password, name: 'Ada' }, { 'accept-language': 'de' }), code(202, { status: 'verification_required' }))
    t.match(await signIn(first, password), code(403, { code: 'email_not_verified' }))
    const { subject, token } = await smtp.mailTo(first)
    t.match(subject, /Example/)
    t.equal(await confirm(token, { password }), 204)
    t.match(await signIn(first, password), code(200, { user: { email: first, name: 'Ada', email_verified: true } }))
    t.match((await smtp.mailTo(first)).html, /lang="de"/, 'news of the sign-in, in the language of the registration')
  })

  await t.test('goes on by a link, which comes when the mail server is back', async t => {
    await smtp.kill()
    t.equal((await ada.post('/v1/auth/magic-link', { email: first })).status, 202)
    await waitUntil('it was tried', async () => service.logs.some(({ msg }) => msg === 'job failed; retrying'))
    await smtp.start()
    const { token } = await smtp.mailTo(first)
    const { status, body } = await ada.post('/v1/auth/magic-link/confirm', { token })
    t.equal(status, 200)
    ada.accessToken = body.access_token
  })

  await t.test('changes its address, and changes it back, and has another password, while no mail is sent', async t => {
    t.equal((await ada.post('/v1/me/email', { password, email: second })).status, 202)
    t.match(await smtp.mailTo(first), { subject: /möchte Ihre E-Mail-Adresse/, link: undefined })
    t.equal(await confirm((await smtp.mailTo(second)).token, { password }), 204)
    t.match((await ada.get('/v1/me')).body, { email: second })
    const { token: undo } = await smtp.mailTo(first)
    await smtp.kill()
    t.equal(await confirm(undo), 204)
    t.equal((await ada.get('/v1/me')).status, 401)
    t.match(await signIn(first, password), code(401, { code: 'invalid_credentials' }))
    await smtp.start()
    const reset = await smtp.mailTo(first)
    t.match(reset.link, /\/password-reset/, 'what was written while the mail server was down is not lost')
    t.equal((await service.browser().post('/v1/auth/password-reset/confirm', { token: reset.token, new_password: 'another phrase of my own' })).status, 204)
    t.equal((await signIn(first, password)).status, 401)
  })

  await t.test('sees where it is signed in, and ends one of them', async t => {
    const here = await signIn(first, 'another phrase of my own')
    const there = await signIn(first, 'another phrase of my own')
    const { items } = (await here.browser.get('/v1/me/sessions')).body
    t.equal(items.length, 2)
    t.equal((await here.browser.delete(`/v1/me/sessions/${there.body.session_id}`)).status, 204)
    t.equal((await there.browser.get('/v1/me')).status, 401)
    t.equal((await here.browser.get('/v1/me')).status, 200)
  })

  await t.test('takes everything along, and leaves', async t => {
    const { browser, body: { user } } = await signIn(first, 'another phrase of my own')
    t.match((await browser.get('/v1/me/export')).body, { user: { id: user.id, email: first } })
    t.equal((await browser.send('DELETE', '/v1/me', { password: 'another phrase of my own' })).status, 204)
    t.equal((await signIn(first, 'another phrase of my own')).status, 401)
    await waitUntil('the last mail came', async () => smtp.all().some(({ to, subject }) => to === first && /gelöscht|deleted/i.test(subject)))

    const { items } = (await admin.get(`/v1/admin/audit-events?user_id=${user.id}&limit=100`)).body
    const told = items.map(({ type }: { type: string }) => type).reverse()
    const happened = ['user.registered', 'user.verified', 'login.succeeded', 'login.succeeded', 'user.email_changed', 'user.email_changed', 'session.ended', 'login.failed', 'user.password_reset', 'login.failed', 'login.succeeded', 'login.succeeded', 'session.ended', 'login.succeeded', 'user.exported', 'session.ended', 'user.deleted']
    t.strictSame(told.filter((type: string, index: number) => !(type === 'session.ended' && told[index - 1] === type)), happened)
    t.notMatch(JSON.stringify(items), new RegExp(`${first}|${second}|127\\.0\\.0\\.1`), 'nothing but ids is left')

    const offered = told.filter((type: string) => type !== 'login.failed')
    await waitUntil('the webhook knows all of it', async () => inbox.requests.filter(({ text }) => text.includes(user.id)).length >= offered.length)
    t.strictSame(inbox.requests.filter(({ text }) => text.includes(user.id)).map(({ type }) => type).sort(), offered.sort())
    t.strictSame((await admin.get(`/v1/admin/webhooks/${webhook.id}/deliveries?status=failed`)).body.items, [])
    t.strictSame(await service.sql("select from audit_events where type = 'mail.failed'"), [])
    t.strictSame(await service.sql('select from jobs'), [])
  })
})
