import type { Capability } from '../capability.ts'
import { problems } from './problems.ts'

// `login.succeeded` is recorded by the SQL function that creates a session.
const auditEvents = ['login.succeeded', 'login.failed'] as const

const mailKinds = [
  { kind: 'new_sign_in', action: 'forgot', isNotification: true }
] as const

declare module '../audit/events.ts' {
  interface AuditEventTypes extends Record<typeof auditEvents[number], true> {}
}

declare module '../mail/mail-kinds.ts' {
  interface MailKinds extends Record<typeof mailKinds[number]['kind'], true> {}
}

export const capability = { auditEvents, problems, mailKinds } satisfies Capability
