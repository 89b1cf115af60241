import type { Capability } from '../capability.ts'

const auditEvents = ['user.imported', 'users.exported'] as const

declare module '../audit/events.ts' {
  interface AuditEventTypes extends Record<typeof auditEvents[number], true> {}
}

export const capability = { auditEvents } satisfies Capability
