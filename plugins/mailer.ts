import fp from 'fastify-plugin'
import { linkOf } from '../src/mail/link.ts'
import { recipientOf } from '../src/mail/recipient.ts'
import * as mails from '../src/mails.ts'
import type { KeyEncryptionKeys } from '../src/secret.ts'

declare module 'fastify' {
  interface FastifyInstance {
    mailer: {
      /** Makes mails into jobs; gives undefined where no mail is set up. */
      post: mails.Post
    }
  }
}

export interface MailerOptions {
  keys: KeyEncryptionKeys
  /** Where the pages stand that links lead to. */
  linksUrl: string
}

/** Sends the mails that were written into the database with what they tell of. */
export default fp(async function mailer (app, { keys, linksUrl }: MailerOptions) {
  app.decorate('mailer', { post: (mail: mails.Mail) => mails.sealed(keys, mail) })
  app.jobs.work('mail', {
    atOnce: 4,
    lease: 120,
    run: async job => {
      if (!job.sealed) return
      const mail = mails.unsealed(keys, job.sealed)
      const recipient = await recipientOf(app.db, job, mail)
      if (recipient) app.log.info({ mail: { kind: mail.kind, to: recipient.address, language: recipient.language, link: linkOf(linksUrl, mail) } }, 'a mail, which is not sent for there is no SMTP_URL')
    }
  })
}, { name: 'mailer', dependencies: ['jobs'] })
