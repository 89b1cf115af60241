import type { Capability } from '../capability.ts'
import { erase } from './erasure.ts'
import { problems } from './problems.ts'

const auditEvents = [
  'user.registered', 'user.verified', 'user.updated', 'user.password_changed', 'user.password_reset',
  'user.email_changed', 'user.disabled', 'user.enabled', 'user.roles_changed', 'user.reset_requested',
  'user.deleted', 'user.exported'
] as const

const mailKinds = [
  { kind: 'email_verification', page: 'email-verification' },
  { kind: 'password_reset', page: 'password-reset' },
  { kind: 'magic_link', page: 'magic-link' },
  { kind: 'invitation', page: 'password-reset' },
  { kind: 'email_change', page: 'email-verification' },
  // The former address is notified twice: when the change is requested, and when it is done. The second mail
  // has a link to undo the change.
  { kind: 'email_change_requested', action: 'forgot', isNotification: true },
  { kind: 'email_changed', page: 'email-verification', isNotification: true },
  { kind: 'registration_taken', action: 'sign-in' },
  { kind: 'password_changed', action: 'forgot', isNotification: true },
  { kind: 'account_deleted', isNotification: true }
] as const

declare module '../audit/events.ts' {
  interface AuditEventTypes extends Record<typeof auditEvents[number], true> {}
}

declare module '../mail/mail-kinds.ts' {
  interface MailKinds extends Record<typeof mailKinds[number]['kind'], true> {}
}

const eventsPerErasure = 2_000

export const capability = {
  auditEvents,
  problems,
  mailKinds,
  housekeeping: [async function * (db) {
    while (await erase(db, eventsPerErasure)) yield
  }]
} satisfies Capability
