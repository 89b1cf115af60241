import type * as audit from '../audit/events.ts'
import type { Database } from '../database/database.ts'
import { newId } from '../crypto/random.ts'
import type { ImportRecord, ImportRejectionReason } from './import-record.ts'

/** What became of a line; `there` is an account that is as the line says, or that an earlier import made of it. */
export type ImportOutcome = 'imported' | 'there' | Extract<ImportRejectionReason, `${string}_taken`>

// For each id one row at the most: by that the answers are told apart.
const lines = `jsonb_to_recordset($1::jsonb) as line (
  id uuid, identified boolean, place integer, email text, canonical_email text, username text, name text, roles text[], email_verified boolean, disabled boolean, password_hash text, created_at timestamptz)`

const digest = (hash: string) => `encode(sha256(convert_to(${hash}, 'UTF8')), 'hex')`

const insertion = {
  name: 'users.import',
  text: `
    with made as (
      insert into users (id, email, canonical_email, username, name, roles, password_hash, email_verified_at, disabled_at, created_at)
      select id, email, canonical_email, username, name, roles, password_hash,
        case when email_verified then now() end, case when disabled then now() end, coalesce(created_at, now())
      from ${lines} order by place
      on conflict do nothing
      returning id, record_event('user.imported', $2, user_id => id, detail => jsonb_strip_nulls(jsonb_build_object(
        'password_hash_sha256', ${digest('password_hash')}
      )))
    )
    select id from made`
}

// An account that an import made is known by the hash that the import brought, whatever has changed since: most of
// all the hash, at the first sign-in.
const explanation = {
  name: 'users.import-explained',
  text: `
    select line.id, case
      when found.is_id or found.is_email then case
        when not (found.is_id or not line.identified) then 'email_taken'
        when found.same or exists (
          select from audit_events where user_id = found.id and type = 'user.imported' and detail ->> 'password_hash_sha256' = ${digest('line.password_hash')}
        ) then 'there'
        when found.is_id then 'id_taken' else 'email_taken' end
      else 'username_taken' end as outcome
    from ${lines} cross join lateral (
      select users.id, users.id = line.id as is_id, users.canonical_email = line.canonical_email as is_email,
        (users.email, users.roles, users.email_verified_at is not null, users.disabled_at is not null, users.created_at)
          = (line.email, line.roles, line.email_verified, line.disabled, coalesce(line.created_at, users.created_at))
        and users.username is not distinct from line.username and users.name is not distinct from line.name
        and users.password_hash is not distinct from line.password_hash as same
      from users where users.id = line.id or users.canonical_email = line.canonical_email or users.username = line.username
        or (username_skeleton(users.username) = username_skeleton(line.username) and not users.username_lookalike)
      order by 2 desc, 3 desc limit 1
    ) as found`
}

class DryRun extends Error {}

/**
 * Makes accounts of lines, no two of which have the same id, each wholly and with its event of the audit log; all at
 * once, or nothing where it throws. An account that is there is never changed. Gives what became of each line. A dry
 * run gives the same, and undoes it.
 */
export async function importBatch (db: Database, accounts: ImportRecord[], origin: audit.Origin, { dryRun }: { dryRun: boolean }): Promise<ImportOutcome[]> {
  const rows = accounts.map(({ id, email, status, ...account }, place) =>
    ({ ...account, id: id ?? newId(), identified: id !== undefined, place, email: email.address, canonical_email: email.canonical, disabled: status === 'disabled' }))
  const outcomes = new Map<string, ImportOutcome>()
  try {
    await db.transaction(async tx => {
      const left = () => JSON.stringify(rows.filter(({ id }) => !outcomes.has(id)))
      // An account that is in the way at first may be gone when it is looked at.
      while (outcomes.size < rows.length) {
        for (const { id } of await tx.query<{ id: string }>(insertion, [left(), origin])) outcomes.set(id, 'imported')
        if (outcomes.size === rows.length) break
        for (const { id, outcome } of await tx.query<{ id: string, outcome: ImportOutcome }>(explanation, [left()])) outcomes.set(id, outcome)
      }
      if (dryRun) throw new DryRun()
    })
  } catch (error) {
    if (!(error instanceof DryRun)) throw error
  }
  return rows.map(({ id }) => outcomes.get(id) ?? 'there')
}
