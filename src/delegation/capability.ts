import type { Capability } from '../capability.ts'
import { inBatches } from '../jobs/housekeeping.ts'
import { arrayOf, describe, rowsOf, text, time, uuid } from '../syntax/json-schema.ts'
import { purgeCodes } from './authorization-codes.ts'
import { problems } from './problems.ts'

const auditEvents = ['consent.granted', 'consent.revoked', 'session.authorized', 'code.reused'] as const

declare module '../audit/events.ts' {
  interface AuditEventTypes extends Record<typeof auditEvents[number], true> {}
}

const consentsOfUser = `
  select client_id::text as cursor, client_id, clients.name as client_name, consents.scopes,
    consents.audiences, granted_at, last_used_at
  from consents join clients on clients.id = client_id
  where user_id = $1 and client_id > coalesce($2::text, '00000000-0000-0000-0000-000000000000')::uuid
  order by client_id limit $3`

// Codes are held for minutes, and show nothing that the sessions do not.
export const capability = {
  auditEvents,
  problems,
  personalData: [{
    name: 'consents',
    tables: ['consents', 'authorization_codes', 'browser_tokens'],
    text: consentsOfUser,
    schema: describe(rowsOf({
      client_id: uuid,
      client_name: text,
      scopes: arrayOf(text),
      audiences: arrayOf(text),
      granted_at: time,
      last_used_at: time
    }), 'What the user has allowed other applications.')
  }],
  housekeeping: [inBatches(purgeCodes)]
} satisfies Capability
