import type { Capability } from '../capability.ts'
import { inBatches } from '../jobs/housekeeping.ts'
import { describe, nullable, rowsOf, text, time } from '../syntax/json-schema.ts'
import { problems } from './problems.ts'
import { purgeExpired } from './purge.ts'

export const capability = {
  problems,
  personalData: [{
    // The export's member keeps the name that it had before the table was renamed.
    name: 'links',
    tables: ['one_time_tokens'],
    text: `
      select encode(token_hash, 'hex') as cursor, purpose, email, created_at, expires_at
      from one_time_tokens
      where user_id = $1 and email_version > 0 and token_hash > decode(coalesce($2::text, ''), 'hex')
      order by token_hash limit $3`,
    schema: describe(rowsOf({
      purpose: text,
      email: describe(nullable(text), 'The address to change to, or back to.'),
      created_at: time,
      expires_at: time
    }), 'Mailed links that have not been used.')
  }],
  housekeeping: [inBatches(purgeExpired)]
} satisfies Capability
