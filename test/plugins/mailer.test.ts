import t from 'tap'
import { build, person } from '../helper.ts'
import { smtpServer } from '../smtp.ts'

t.test('a mail', async t => {
  const smtp = await smtpServer(t)
  const service = await build(t, { SMTP_URL: smtp.url, MAIL_FROM: 'Orders & Co <login@example.com>', SERVICE_NAME: 'Orders' })
  const ada = person()

  t.test('is sent in both languages, as text and as HTML', async t => {
    await service.browser().post('/v1/auth/register', ada)
    const mail = await smtp.mailTo(ada.email)
    t.match(mail, { from: 'login@example.com', subject: 'Confirm your e-mail address for Orders' })

    t.equal((await service.browser().post('/v1/auth/email-verification/confirm', { token: mail.token })).status, 204)
  })
})
