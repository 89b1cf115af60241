import type { Capability } from '../capability.ts'

const auditEvents = ['client.created', 'client.updated', 'client.deleted', 'client.secret_rotated'] as const

declare module '../audit/events.ts' {
  interface AuditEventTypes extends Record<typeof auditEvents[number], true> {}
}

export const capability = { auditEvents } satisfies Capability
