import { capability as accounts } from './accounts/capability.ts'
import { capability as audit } from './audit/capability.ts'
import type { AuditEventType } from './audit/events.ts'
import { capability as authentication } from './authentication/capability.ts'
import type { Capability } from './capability.ts'
import { capability as clients } from './clients/capability.ts'
import { capability as jobs } from './jobs/capability.ts'
import { capability as mail } from './mail/capability.ts'
import { capability as oneTimeTokens } from './one-time-tokens/capability.ts'
import { capability as sessions } from './sessions/capability.ts'
import { capability as throttle } from './throttle/capability.ts'
import { capability as tokens } from './tokens/capability.ts'
import { capability as transfer } from './transfer/capability.ts'
import { capability as webhooks } from './webhooks/capability.ts'

// The only list of capabilities. A new one adds its line here.
const all = [
  accounts, authentication, sessions, oneTimeTokens, throttle, transfer, clients, tokens, mail, webhooks, jobs, audit
]

const capabilities: readonly Capability[] = all

/** The types of all audit events. */
export const auditEventTypes: readonly AuditEventType[] =
  all.flatMap(capability => 'auditEvents' in capability ? [...capability.auditEvents] : [])

/** The parts of the data export, beside the account itself. */
export const personalData = capabilities.flatMap(({ personalData = [] }) => personalData)

/** The sealed columns of all tables. */
export const sealedColumns = capabilities.flatMap(({ sealedColumns = [] }) => sealedColumns)

/** What housekeeping does, in this order. */
export const housekeepingTasks = capabilities.flatMap(({ housekeeping = [] }) => housekeeping)
