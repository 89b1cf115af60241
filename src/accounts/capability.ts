import type { Capability } from '../capability.ts'
import { erase } from './erasure.ts'

const auditEvents = [
  'user.registered', 'user.verified', 'user.updated', 'user.password_changed', 'user.password_reset',
  'user.email_changed', 'user.disabled', 'user.enabled', 'user.roles_changed', 'user.reset_requested',
  'user.deleted', 'user.exported'
] as const

declare module '../audit/events.ts' {
  interface AuditEventTypes extends Record<typeof auditEvents[number], true> {}
}

const eventsPerErasure = 2_000

export const capability = {
  auditEvents,
  housekeeping: [async function * (db) {
    while (await erase(db, eventsPerErasure)) yield
  }]
} satisfies Capability
