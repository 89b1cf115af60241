import type { Capability } from '../capability.ts'
import { inPages } from '../jobs/housekeeping.ts'
import { purgeExpired } from './sign-in-throttle.ts'

const auditEvents = ['login.throttled'] as const

declare module '../audit/events.ts' {
  interface AuditEventTypes extends Record<typeof auditEvents[number], true> {}
}

export const capability = { auditEvents, housekeeping: [inPages(purgeExpired)] } satisfies Capability
