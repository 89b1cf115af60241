import fp from 'fastify-plugin'
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

export interface MailerOptions { keys: KeyEncryptionKeys }

/** Sends the mails that were written into the database with what they tell of. */
export default fp(async function mailer (app, { keys }: MailerOptions) {
  app.decorate('mailer', { post: (mail: mails.Mail) => mails.sealed(keys, mail) })
  app.jobs.work('mail', {
    atOnce: 4,
    lease: 120,
    run: async ({ sealed }) => { if (sealed) app.log.info({ mail: mails.unsealed(keys, sealed).kind }, 'a mail') }
  })
}, { name: 'mailer', dependencies: ['jobs'] })
