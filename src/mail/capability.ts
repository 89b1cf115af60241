import type { Capability } from '../capability.ts'
import { inPages } from '../jobs/housekeeping.ts'
import { purgeBuckets } from './limits.ts'
import { sealedMails } from './outbox.ts'

const auditEvents = ['mail.failed'] as const

declare module '../audit/events.ts' {
  interface AuditEventTypes extends Record<typeof auditEvents[number], true> {}
}

export const capability = {
  auditEvents, sealedColumns: [sealedMails], housekeeping: [inPages(purgeBuckets)]
} satisfies Capability
