import type { Capability } from '../capability.ts'
import { describe, integer, rowsOf, text, time, uuid } from '../syntax/json-schema.ts'
import { inBatches } from './housekeeping.ts'
import * as leases from './named-leases.ts'

export const capability = {
  personalData: [{
    name: 'jobs',
    tables: ['jobs'],
    text: `
      select id::text as cursor, id, kind, attempts, created_at, run_at, expires_at
      from jobs
      where user_id = $1 and id > coalesce($2::text, '00000000-0000-0000-0000-000000000000')::uuid
      order by id limit $3`,
    schema: describe(rowsOf({
      id: uuid, kind: text, attempts: integer, created_at: time, run_at: time, expires_at: time
    }), 'Mails that are still to be sent.')
  }],
  housekeeping: [inBatches(leases.purge)]
} satisfies Capability
