import type { Capability } from '../capability.ts'
import { inBatches } from '../jobs/housekeeping.ts'
import { sealedKeys } from './keyring.ts'
import { sealedPeppers } from './peppers.ts'
import * as revocations from './revocations.ts'

const auditEvents = ['key.created', 'key.rotated', 'key.dropped', 'token.revoked'] as const

declare module '../audit/events.ts' {
  interface AuditEventTypes extends Record<typeof auditEvents[number], true> {}
}

export const capability = {
  auditEvents,
  sealedColumns: [sealedKeys, sealedPeppers],
  housekeeping: [inBatches(revocations.purge)]
} satisfies Capability
