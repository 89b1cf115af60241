import type { Test } from 'tap'
import { freePort } from '../../src/database/embedded/server.ts'
import { sealMail, type Mail } from '../../src/mail/outbox.ts'
import { authority } from '../support/certificates.ts'
import { build, keyEncryptionKey, type Service } from '../support/app.ts'
import { createDatabase, sql } from '../support/postgres.ts'
import { ready, start } from '../support/process.ts'
import { smtpServer, type SmtpServer } from '../support/smtp.ts'
import { waitUntil } from '../support/polling.ts'
import { onlyInSoak } from '../support/soak.ts'
import { temporaryFolder } from '../support/temporary-folder.ts'
import { t } from '../support/test.ts'

const from = { MAIL_FROM: 'login@example.com' }
const { file: authorityFile, issue } = authority(t)

/** Enqueues a mail, without waking an instance. */
const enqueue = async (url: string, to: string) => {
  const mail: Mail = { kind: 'password_reset', token: `lkl_${to}`, lives: 1_800, to }
  await sql(
    url,
    "insert into jobs (kind, sealed, expires_at) values ('mail', $1, now() + interval '1 hour')",
    [sealMail([keyEncryptionKey], mail)]
  )
}

/** Waits until an attempt to send a mail has failed, and returns its log line. */
async function failedAttempt (service: Service, mailServer: SmtpServer): Promise<Record<string, unknown>> {
  await enqueue(service.url, 'ada@example.com')
  const line = await waitUntil('a failure', () =>
    service.logs.find(({ msg }) => msg === 'job failed; retrying')
  )
  t.match(
    await sql(service.url, 'select attempts, run_at > now() as later from jobs'),
    [{ attempts: 1, later: true }], 'there will be another attempt'
  )
  t.strictSame(mailServer.all(), [], 'no mail arrived')
  t.notMatch(JSON.stringify(service.logs), /lkl_|ada@/)
  return line
}

/** Starts the service as a process that trusts the test's certificate authority. */
async function startTrusting (t: Test, env: Record<string, string>) {
  const url = await createDatabase(t)
  const service = start(
    t,
    temporaryFolder(t),
    {
      DATABASE_URL: url,
      KEY_ENCRYPTION_KEY: keyEncryptionKey.toString('base64'),
      NODE_EXTRA_CA_CERTS: authorityFile,
      ...from,
      ...env
    },
    await freePort()
  )
  await ready(service)
  return { url, service }
}

t.test('mail over TLS', async t => {
  for (const tls of ['from the start', 'when asked'] as const) {
    await t.test(`${tls} is sent to a server with a certificate from a trusted authority`, async t => {
      const login = { user: 'orders', password: 's3cret' }
      const mailServer = await smtpServer(t, { login, tls, certificate: issue('IP:127.0.0.1') })
      const { url, service } = await startTrusting(t, { SMTP_URL: mailServer.url, SMTP_TLS: 'required' })
      await enqueue(url, 'ada@example.com')
      t.match(await mailServer.mailTo('ada@example.com'), { user: 'orders', isSecure: true })
      t.notMatch(service.output(), /job failed/)
    })

    await t.test(`${tls} is not sent to a server with an untrusted certificate`, async t => {
      for (const env of [{}, { SMTP_TLS: 'optional' }, { SMTP_TLS: 'required' }]) {
        const mailServer = await smtpServer(t, { tls, certificate: issue('IP:127.0.0.1') })
        const line = await failedAttempt(
          await build(t, { SMTP_URL: mailServer.url, ...from, ...env }),
          mailServer
        )
        t.match(line, {
          level: 40,
          err: {
            type: 'MailDeliveryError',
            message: /the mail server's certificate is not from a trusted authority \(\w+, CONN\)/
          }
        })
      }
    })

    await t.test(
      `${tls} is not sent if the certificate has another name or has expired`,
      onlyInSoak,
      async t => {
        for (const [certificate, reason] of [
          [issue('DNS:mail.example.com,DNS:localhost'), /is for another name than the one in SMTP_URL/],
          [issue('IP:127.0.0.1', -1), /the mail server's certificate has expired/]
        ] as const) {
          const mailServer = await smtpServer(t, { tls, certificate })
          const { url, service } = await startTrusting(t, { SMTP_URL: mailServer.url })
          await enqueue(url, 'ada@example.com')
          await waitUntil('a failure', () => reason.test(service.output()))
          t.strictSame(mailServer.all(), [])
        }
      }
    )
  }
})

t.test('a mail server whose offer of TLS was removed by an attacker', async t => {
  // By this address the server does not count as local, so an attacker on the network is possible.
  const remoteUrl = (mailServer: SmtpServer) => mailServer.url.replace('127.0.0.1', '0.0.0.0')

  await t.test('gets no mail', async t => {
    const mailServer = await smtpServer(t)
    const line = await failedAttempt(await build(t, { SMTP_URL: remoteUrl(mailServer), ...from }), mailServer)
    t.match(line, {
      level: 40,
      err: { message: /the mail server offers no TLS, but TLS is required \(ETLS, 5\d\d, STARTTLS\)/ }
    })
  })

  await t.test('gets no mail on this host if TLS is required', async t => {
    const mailServer = await smtpServer(t)
    t.match(
      await failedAttempt(
        await build(t, { SMTP_URL: mailServer.url, SMTP_TLS: 'required', ...from }),
        mailServer
      ),
      { err: { message: /offers no TLS/ } }
    )
  })

  await t.test('gets mail if TLS is optional, but never a password', async t => {
    const mailServer = await smtpServer(t)
    const service = await build(t, { SMTP_URL: remoteUrl(mailServer), SMTP_TLS: 'optional', ...from })
    await enqueue(service.url, 'ada@example.com')
    t.match(await mailServer.mailTo('ada@example.com'), { isSecure: false })

    const strict = await smtpServer(t, { login: { user: 'orders', password: 's3cret' } })
    t.match(
      await failedAttempt(
        await build(t, { SMTP_URL: remoteUrl(strict), SMTP_TLS: 'optional', ...from }),
        strict
      ),
      { err: { message: /offers no TLS/ } }
    )
  })

  await t.test('gets mail if it runs on this host', async t => {
    const mailServer = await smtpServer(t)
    const service = await build(t, { SMTP_URL: mailServer.url, ...from })
    await enqueue(service.url, 'ada@example.com')
    t.match(await mailServer.mailTo('ada@example.com'), { isSecure: false })
  })
})
