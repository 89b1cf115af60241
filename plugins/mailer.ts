import fp from 'fastify-plugin'
import type { Job } from '../src/jobs/queue.ts'
import { abandonMail, type MailFailureReason } from '../src/mail/failure.ts'
import { renderMail, type MailSender } from '../src/mail/rendering.ts'
import {
  countMailWithAsyncCommit, isCountedWhenSent, mailLimits, type MailLimits
} from '../src/mail/limits.ts'
import { MailDeliveryError } from '../src/mail/delivery-error.ts'
import { findRecipient } from '../src/mail/recipient.ts'
import { mailCounted, type MailResult } from '../src/mail/mail-result.ts'
import type { MailKind } from '../src/mail/mail-kinds.ts'
import { mailKinds } from '../src/capabilities.ts'
import { keepShownMails, type ShownMails } from '../src/mail/shown-mails.ts'
import { readTemplates } from '../src/mail/templates.ts'
import type { MailServer, SmtpOptions } from '../src/mail/transport.ts'
import * as mails from '../src/mail/outbox.ts'
import { derive, UnsealError, type KeyEncryptionKeys } from '../src/crypto/sealing.ts'

declare module 'fastify' {
  interface FastifyInstance {
    mailer: {
      /** Seals a mail for the outbox; returns undefined if no mail can be sent. */
      sealMail: mails.MailSealer
      /** The buckets that limit the mails to an address. */
      limits: MailLimits
      /** Counts a mail that was dropped when it was requested, because a bucket was full. */
      countDropped: (kind: MailKind) => void
      /** The last mails that were not sent, in development without a mail server; undefined otherwise. */
      shown: ShownMails | undefined
    }
  }
}

export interface MailerOptions extends MailSender {
  keys: KeyEncryptionKeys
  smtpUrl: string | undefined
  smtpTls: MailServer['tls']
  smtpOauth: MailServer['oauth']
  from: SmtpOptions['from'] | undefined
  /** The folder with the operator's own templates. */
  templates: string | undefined
  /** In production mails are never shown in the log. */
  isProduction: boolean
}

const maxConnections = 4
const leaseSeconds = 120
const shutdownGraceMs = 3_000

/**
 * Sends the mails of the outbox, which transactions enqueue together with the change that they tell about.
 */
export default fp(async function mailer (app, options: MailerOptions) {
  const { keys, smtpUrl, smtpTls, smtpOauth, from, templates: folder, isProduction, ...sender } = options
  const templates = readTemplates(folder, mailKinds)
  const limits = mailLimits(derive(keys[0], 'mail buckets'))
  const { hostname: domain } = new URL(sender.issuer)
  const transport = smtpUrl !== undefined && from !== undefined
    ? await connect({ url: smtpUrl, tls: smtpTls, oauth: smtpOauth, from, domain, maxConnections })
    : undefined
  const isDisabled = isProduction && transport === undefined
  const shown = !isProduction && transport === undefined ? keepShownMails() : undefined
  if (isDisabled) {
    app.log.warn(
      'mails not sent: SMTP_URL is not set; users cannot verify addresses, reset passwords, use magic ' +
        'links or be notified of changes to their accounts'
    )
  }

  const countMail = (kind: MailKind | 'unknown', result: MailResult) =>
    app.db.publish(mailCounted, { kind, result })
  app.decorate('mailer', {
    sealMail: (mail: mails.Mail) => isDisabled ? undefined : mails.sealMail(keys, mail),
    limits,
    countDropped: (kind: MailKind) => countMail(kind, 'limited'),
    shown
  })

  async function abandon (
    job: Job,
    kind: MailKind | undefined,
    reason: MailFailureReason,
    status?: number
  ) {
    await abandonMail(app.db, job, kind, reason)
    countMail(kind ?? 'unknown', reason)
    app.log.error({ job: job.id, mail: kind, reason, status }, 'mail given up')
  }

  async function send (job: Job) {
    const mail = readMail(keys, job)
    if (!mail) return await abandon(job, undefined, 'unreadable')
    const recipient = await findRecipient(app.db, job, mail)
    // A mail for an address without an account: the request is answered like any other, but nothing is sent.
    if (!recipient) return
    const { as: kind = mail.kind } = mail
    if (job.expired) return await abandon(job, kind, 'expired')
    if (isDisabled) throw new Error('SMTP_URL is not set')
    // A notification counts once: its further attempts follow one that was admitted.
    const isCounted = isCountedWhenSent(mail, mailKinds) && job.attempts === 1
    const buckets = limits.notificationBuckets(kind, recipient.address)
    if (isCounted && !await countMailWithAsyncCommit(app.db, buckets)) {
      countMail(kind, 'limited')
      app.log.debug({ job: job.id, mail: kind }, 'mail dropped: too many mails of this kind to the address')
      return
    }
    const rendered = renderMail(templates, sender, { mail, createdAt: job.createdAt, recipient })
    if (!transport) {
      const { to, language, subject, link } = rendered
      shown?.add(rendered)
      app.log.info(
        { mail: { kind: mail.kind, to, language, subject, link } },
        'mail not sent: SMTP_URL is not set'
      )
      countMail(kind, 'shown')
      return
    }
    try {
      await transport.send(job.id, rendered)
      countMail(kind, 'sent')
    } catch (error) {
      const isPermanent = error instanceof MailDeliveryError && error.isPermanent
      if (isPermanent) return await abandon(job, kind, 'refused', error.status)
      countMail(kind, 'failed')
      throw error
    }
  }

  const running = new Set<Promise<void>>()
  app.jobs.work('mail', {
    concurrency: maxConnections,
    leaseSeconds,
    isOutage: error => error instanceof MailDeliveryError && error.isServerUnreachable,
    run: async job => {
      const work = send(job).finally(() => running.delete(work))
      running.add(work)
      await work
    }
  })

  app.addHook('onClose', async () => {
    let timer: NodeJS.Timeout | undefined
    const timeout = new Promise(resolve => { timer = setTimeout(resolve, shutdownGraceMs) })
    await Promise.race([Promise.allSettled(running), timeout])
    clearTimeout(timer)
    transport?.close()
  })
}, { name: 'mailer', dependencies: ['database', 'jobs'] })

/** Creates the SMTP transport. Its package is loaded only if there is a mail server. */
async function connect (options: SmtpOptions) {
  const { smtpTransport } = await import('../src/mail/transport.ts')
  return smtpTransport(options)
}

/** Unseals the mail of a job; returns undefined if it can never be unsealed. */
function readMail (keys: KeyEncryptionKeys, { sealed, expired }: Job): mails.Mail | undefined {
  if (!sealed) return undefined
  try {
    return mails.unsealMail(keys, sealed)
  } catch (error) {
    // Another instance may have the key, so only an expired mail is given up.
    if (error instanceof UnsealError && expired) return undefined
    throw error
  }
}
