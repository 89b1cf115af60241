import fp from 'fastify-plugin'
import type { Job } from '../src/jobs/queue.ts'
import { giveUp, type Reason } from '../src/mail/failure.ts'
import { write, type Sender } from '../src/mail/rendering.ts'
import { admitMailWithAsyncCommit, isCountedWhenSent, mailLimits, type MailLimits } from '../src/mail/limits.ts'
import { NotSent } from '../src/mail/delivery-error.ts'
import { recipientOf } from '../src/mail/recipient.ts'
import { read } from '../src/mail/templates.ts'
import type { Server, transport } from '../src/mail/transport.ts'
import * as mails from '../src/mail/outbox.ts'
import { derive, UnsealError, type KeyEncryptionKeys } from '../src/crypto/sealing.ts'

/**
 * What became of a mail, or of an attempt. `failed` is tried again, `limited` was dropped because there were
 * too many, and `shown` was only logged, in development.
 */
export type Result = 'sent' | 'shown' | 'failed' | 'limited' | Reason

declare module 'fastify' {
  interface FastifyInstance {
    mailer: {
      /** Makes mails into jobs; gives undefined where no mail is set up. */
      sealMail: mails.MailSealer
      /** Which buckets bound the mails to an address. */
      limits: MailLimits
      /** Counts a mail that was dropped when it was requested, because a bucket was full. */
      countDropped: (kind: mails.MailKind) => void
      /** How many mails of each kind had which result here so far. */
      counts: ReadonlyArray<{ kind: string, result: Result, count: number }>
    }
  }
}

export interface MailerOptions extends Sender {
  keys: KeyEncryptionKeys
  smtpUrl: string | undefined
  smtpTls: Server['tls']
  from: { name: string, address: string } | undefined
  /** The folder with templates of the operator's own. */
  templates: string | undefined
  /** Whether mails may be shown in the log where there is no server. */
  production: boolean
}

const atOnce = 4
// Milliseconds for what is under way when the service stops.
const grace = 3_000

/** Sends the mails that were written into the database with what they tell of. */
export default fp(async function mailer (app, { keys, smtpUrl, smtpTls, from, templates: folder, production, ...sender }: MailerOptions) {
  const templates = read(folder)
  const limits = mailLimits(derive(keys[0], 'mail buckets'))
  const server = smtpUrl !== undefined && from !== undefined ? await connected({ url: smtpUrl, tls: smtpTls }, from, new URL(sender.issuer).hostname, atOnce) : undefined
  const isSilent = production && server === undefined
  if (isSilent) app.log.warn('mails not sent: SMTP_URL is not set; users cannot verify addresses, reset passwords or use magic links')

  const counts: Array<{ kind: string, result: Result, count: number }> = []
  function counted (kind: mails.MailKind | 'unknown', result: Result) {
    const known = counts.find(one => one.kind === kind && one.result === result)
    if (known) known.count++
    else counts.push({ kind, result, count: 1 })
  }
  app.decorate('mailer', {
    sealMail: (mail: mails.Mail) => isSilent ? undefined : mails.sealMail(keys, mail),
    limits,
    countDropped: (kind: mails.MailKind) => counted(kind, 'limited'),
    counts
  })

  async function fail (job: Job, kind: mails.MailKind | undefined, reason: Reason, status?: number) {
    await giveUp(app.db, job, kind, reason)
    counted(kind ?? 'unknown', reason)
    app.log.error({ job: job.id, mail: kind, reason, status }, 'mail given up')
  }

  async function run (job: Job) {
    const mail = opened(keys, job)
    if (!mail) return await fail(job, undefined, 'unreadable')
    const recipient = await recipientOf(app.db, job, mail)
    // Asked for in the name of nobody, who hears nothing.
    if (!recipient) return
    const { as: kind = mail.kind } = mail
    if (job.expired) return await fail(job, kind, 'expired')
    if (isSilent) throw new Error('there is no SMTP_URL to send a mail to')
    // A notification counts once: its further attempts follow one that was admitted.
    const isCounted = isCountedWhenSent(mail) && job.attempts === 1
    if (isCounted && !await admitMailWithAsyncCommit(app.db, limits.notificationBuckets(kind, recipient.address))) {
      counted(kind, 'limited')
      app.log.debug({ job: job.id, mail: kind }, 'mail dropped: too many mails of this kind to the address')
      return
    }
    const letter = write(templates, sender, job, mail, recipient)
    if (!server) {
      app.log.info({ mail: { kind: mail.kind, to: letter.to, language: letter.language, subject: letter.subject, link: letter.link } }, 'mail not sent: SMTP_URL is not set')
      counted(kind, 'shown')
      return
    }
    try {
      await server.send(job.id, letter)
      counted(kind, 'sent')
    } catch (error) {
      if (error instanceof NotSent && error.isFinal) return await fail(job, kind, 'refused', error.status)
      counted(kind, 'failed')
      throw error
    }
  }
  const running = new Set<Promise<void>>()
  app.jobs.work('mail', {
    atOnce,
    lease: 120,
    isAway: error => error instanceof NotSent && error.isAway,
    run: async job => {
      const work = run(job).finally(() => running.delete(work))
      running.add(work)
      await work
    }
  })

  app.addHook('onClose', async () => {
    let timer: NodeJS.Timeout | undefined
    await Promise.race([Promise.allSettled(running), new Promise(resolve => { timer = setTimeout(resolve, grace) })])
    clearTimeout(timer)
    server?.close()
  })
}, { name: 'mailer', dependencies: ['jobs'] })

/** The way to a server, whose package is loaded where there is one. */
const connected = async (...where: Parameters<typeof transport>) => (await import('../src/mail/transport.ts')).transport(...where)

/** The mail of a job; undefined where none can be read any more. */
function opened (keys: KeyEncryptionKeys, { sealed, expired }: Job): mails.Mail | undefined {
  if (!sealed) return undefined
  try {
    return mails.unsealMail(keys, sealed)
  } catch (error) {
    // The instance that has the key may come back.
    if (error instanceof UnsealError && expired) return undefined
    throw error
  }
}
