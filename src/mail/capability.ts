import type { Capability } from '../capability.ts'
import { inPages } from '../jobs/housekeeping.ts'
import { mailCounted } from './mail-result.ts'
import { purgeBuckets } from './limits.ts'
import { sealedMails } from './outbox.ts'

const auditEvents = ['mail.failed'] as const

declare module '../audit/events.ts' {
  interface AuditEventTypes extends Record<typeof auditEvents[number], true> {}
}

export const capability = {
  auditEvents,
  sealedColumns: [sealedMails],
  counters: [{
    name: 'latchkey_mails_total',
    help: 'Mails by kind and result: "sent", "shown" in the log of development, "failed" if it will be ' +
      'retried, "limited" if too many were requested, or given up: "refused" by the recipient\'s server, ' +
      '"expired", "unreadable".',
    labelNames: ['kind', 'result'],
    topic: mailCounted
  }],
  housekeeping: [inPages(purgeBuckets)]
} satisfies Capability
