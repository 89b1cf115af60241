import type { Capability } from '../capability.ts'

// `login.succeeded` is recorded by the SQL function that creates a session.
const auditEvents = ['login.succeeded', 'login.failed'] as const

declare module '../audit/events.ts' {
  interface AuditEventTypes extends Record<typeof auditEvents[number], true> {}
}

export const capability = { auditEvents } satisfies Capability
