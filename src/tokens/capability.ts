import type { Capability } from '../capability.ts'
import { inBatches } from '../jobs/housekeeping.ts'
import * as revocations from './revocations.ts'

const auditEvents = ['key.created', 'key.rotated', 'key.dropped', 'token.revoked'] as const

declare module '../audit/events.ts' {
  interface AuditEventTypes extends Record<typeof auditEvents[number], true> {}
}

export const capability = { auditEvents, housekeeping: [inBatches(revocations.purge)] } satisfies Capability
