import t, { type Test } from 'tap'
import { freePort } from '../../src/database/embedded/server.ts'
import { sealMail, type Mail } from '../../src/mail/outbox.ts'
import { authority } from '../support/certificates.ts'
import { build, keyEncryptionKey, type Service } from '../support/app.ts'
import { createDatabase, sql } from '../support/postgres.ts'
import { ready, start } from '../support/process.ts'
import { smtpServer, type SmtpServer } from '../support/smtp.ts'
import { waitUntil } from '../support/polling.ts'
import { temporaryFolder } from '../support/temporary-folder.ts'

const from = { MAIL_FROM: 'login@example.com' }
const { file: trusted, issue } = authority(t)

/** A mail to be sent, of whichever instance. */
const write = async (url: string, to: string) => {
  const mail: Mail = { kind: 'password_reset', token: `lkl_${to}`, lives: 1_800, to }
  await sql(url, "insert into jobs (kind, sealed, expires_at) values ('mail', $1, now() + interval '1 hour')", [sealMail([keyEncryptionKey], mail)])
}

/** Waits until a mail was tried in vain, and gives what the log says of it. */
async function inVain (service: Service, mailServer: SmtpServer): Promise<Record<string, unknown>> {
  await write(service.url, 'ada@example.com')
  const line = await waitUntil('a failure', () => service.logs.find(({ msg }) => msg === 'job failed; retrying'))
  t.match(await sql(service.url, 'select attempts, run_at > now() as later from jobs'), [{ attempts: 1, later: true }], 'it is tried again')
  t.strictSame(mailServer.all(), [], 'nothing was sent')
  t.notMatch(JSON.stringify(service.logs), /lkl_|ada@/)
  return line
}

/** The service as a process that trusts the authority. */
async function trusting (t: Test, env: Record<string, string>) {
  const url = await createDatabase(t)
  const service = start(t, temporaryFolder(t), { DATABASE_URL: url, KEY_ENCRYPTION_KEY: keyEncryptionKey.toString('base64'), NODE_EXTRA_CA_CERTS: trusted, ...from, ...env }, await freePort())
  await ready(service)
  return { url, service }
}

t.test('mail over TLS', async t => {
  for (const tls of ['from the start', 'when asked'] as const) {
    await t.test(`${tls} is sent to a server whose certificate is from an authority that is trusted`, async t => {
      const login = { user: 'orders', password: 's3cret' }
      const mailServer = await smtpServer(t, { login, tls, certificate: issue('IP:127.0.0.1') })
      const { url, service } = await trusting(t, { SMTP_URL: mailServer.url, SMTP_TLS: 'required' })
      await write(url, 'ada@example.com')
      t.match(await mailServer.mailTo('ada@example.com'), { user: 'orders', isSecure: true })
      t.notMatch(service.output(), /job failed/)
    })

    await t.test(`${tls} is not sent where nobody vouches for the server`, async t => {
      for (const env of [{}, { SMTP_TLS: 'optional' }, { SMTP_TLS: 'required' }]) {
        const mailServer = await smtpServer(t, { tls, certificate: issue('IP:127.0.0.1') })
        const line = await inVain(await build(t, { SMTP_URL: mailServer.url, ...from, ...env }), mailServer)
        t.match(line, { level: 40, err: { type: 'NotSent', message: /the mail server's certificate is not from an authority that is trusted \(\w+, CONN\)/ } })
      }
    })

    await t.test(`${tls} is not sent where the certificate is another's, or too old`, async t => {
      for (const [certificate, why] of [[issue('DNS:mail.example.com,DNS:localhost'), /is for another name than the one in SMTP_URL/], [issue('IP:127.0.0.1', -1), /time of the mail server's certificate is over/]] as const) {
        const mailServer = await smtpServer(t, { tls, certificate })
        const { url, service } = await trusting(t, { SMTP_URL: mailServer.url })
        await write(url, 'ada@example.com')
        await waitUntil('a failure', () => why.test(service.output()))
        t.strictSame(mailServer.all(), [])
      }
    })
  }
})

t.test('a mail server from whose greeting the offer of TLS was taken', async t => {
  // What is on the way to another host can do that: by this address this one is taken for another.
  const elsewhere = (mailServer: SmtpServer) => mailServer.url.replace('127.0.0.1', '0.0.0.0')

  await t.test('gets nothing', async t => {
    const mailServer = await smtpServer(t)
    const line = await inVain(await build(t, { SMTP_URL: elsewhere(mailServer), ...from }), mailServer)
    t.match(line, { level: 40, err: { message: /the mail server offers no TLS, which is required to send it there \(ETLS, 5\d\d, STARTTLS\)/ } })
  })

  await t.test('gets nothing on this very host where TLS is demanded', async t => {
    const mailServer = await smtpServer(t)
    t.match(await inVain(await build(t, { SMTP_URL: mailServer.url, SMTP_TLS: 'required', ...from }), mailServer), { err: { message: /offers no TLS/ } })
  })

  await t.test('gets what the operator allows it, and never a password', async t => {
    const mailServer = await smtpServer(t)
    const service = await build(t, { SMTP_URL: elsewhere(mailServer), SMTP_TLS: 'optional', ...from })
    await write(service.url, 'ada@example.com')
    t.match(await mailServer.mailTo('ada@example.com'), { isSecure: false })

    const strict = await smtpServer(t, { login: { user: 'orders', password: 's3cret' } })
    t.match(await inVain(await build(t, { SMTP_URL: elsewhere(strict), SMTP_TLS: 'optional', ...from }), strict), { err: { message: /offers no TLS/ } })
  })

  await t.test('gets mail on this very host, where nobody is on the way', async t => {
    const mailServer = await smtpServer(t)
    const service = await build(t, { SMTP_URL: mailServer.url, ...from })
    await write(service.url, 'ada@example.com')
    t.match(await mailServer.mailTo('ada@example.com'), { isSecure: false })
  })
})
