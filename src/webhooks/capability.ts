import type { Capability } from '../capability.ts'
import { inBatches } from '../jobs/housekeeping.ts'
import * as deliveries from './delivery-batches.ts'
import { sealedWebhookSecrets } from './signature.ts'

const auditEvents = [
  'webhook.created', 'webhook.updated', 'webhook.deleted', 'webhook.secret_rotated', 'webhook.paused',
  'webhook.tested', 'webhook.redelivered'
] as const

declare module '../audit/events.ts' {
  interface AuditEventTypes extends Record<typeof auditEvents[number], true> {}
}

export const capability = {
  auditEvents, sealedColumns: [sealedWebhookSecrets], housekeeping: [inBatches(deliveries.purge)]
} satisfies Capability
