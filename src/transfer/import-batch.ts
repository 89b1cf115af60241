import type * as audit from '../audit/events.ts'
import type { Database, Statement } from '../database/database.ts'
import { newId } from '../crypto/random.ts'
import type { ImportRecord } from './import-record.ts'

/**
 * The outcome of a record. `already_exists`: the account equals the record, or an earlier import created it.
 * `without_username`: the account was imported without its username, because another account has it.
 */
export type ImportOutcome = 'imported' | 'without_username' | 'already_exists' | TakenReason
type TakenReason = 'id_taken' | 'external_id_taken' | 'email_taken'

// Each id has one row at most, so that outcomes can be assigned by id.
const recordColumns = `
  id uuid, has_id boolean, line_order integer, external_id text, email text, canonical_email text,
  username text, name text, roles text[], email_verified boolean, disabled boolean, password_hash text,
  given_hash text, created_at timestamptz`

const insertion: Statement = {
  name: 'users.import',
  text: `
    with inserted as (
      insert into users (
        id, external_id, email, canonical_email, username, name, roles, password_hash,
        email_verified_at, disabled_at, created_at
      )
      select id, external_id, email, canonical_email, username, name, roles, password_hash,
        case when email_verified then now() end, case when disabled then now() end,
        coalesce(created_at, now())
      from jsonb_to_recordset($1::jsonb) as record (${recordColumns}) order by line_order
      on conflict do nothing
      returning id
    ), recorded as (
      insert into audit_events (type, user_id, client_id, detail, actor_id, ip, user_agent, request_id)
      select 'user.imported', inserted.id, ($2::jsonb ->> 'clientId')::uuid,
        jsonb_strip_nulls(jsonb_build_object(
          'password_hash_sha256', encode(sha256(convert_to(given_hash, 'UTF8')), 'hex')
        )),
        ($2::jsonb ->> 'actorId')::uuid, ($2::jsonb ->> 'ip')::inet, $2::jsonb ->> 'userAgent',
        $2::jsonb ->> 'requestId'
      from inserted
      join jsonb_to_recordset($1::jsonb) as record (${recordColumns}) on record.id = inserted.id
    )
    select id from inserted`
}

// The audit log keeps a digest of the password hash that the line had. It identifies the account as imported,
// even if the account has changed since: at the first sign-in, for example, the hash is replaced.
const explanation: Statement = {
  name: 'users.import-explained',
  text: `
    select record.id, case
      when existing.is_id or existing.is_external_id or existing.is_email then case
        when (existing.is_id or not record.has_id)
          and (existing.is_external_id or record.external_id is null)
          and (existing.is_equal or exists (
            select from audit_events
            where user_id = existing.id and type = 'user.imported'
              and detail ->> 'password_hash_sha256'
                = encode(sha256(convert_to(record.given_hash, 'UTF8')), 'hex')
          )) then 'already_exists'
        when existing.is_id then 'id_taken'
        when existing.is_external_id then 'external_id_taken'
        else 'email_taken'
      end
      else 'username_taken'
    end as outcome
    from jsonb_to_recordset($1::jsonb) as record (${recordColumns})
    cross join lateral (
      select users.id, users.id = record.id as is_id,
        users.external_id is not distinct from record.external_id and record.external_id is not null
          as is_external_id,
        users.canonical_email = record.canonical_email as is_email,
        (
          users.email, users.roles, users.email_verified_at is not null, users.disabled_at is not null,
          users.created_at
        ) = (
          record.email, record.roles, record.email_verified, record.disabled,
          coalesce(record.created_at, users.created_at)
        )
        and (users.username is not distinct from record.username or users.username is null and exists (
          -- An earlier import may have left the username out.
          select from users as other
          where other.username = record.username or (
            username_skeleton(other.username) = username_skeleton(record.username)
            and not other.username_lookalike
          )
        ))
        and users.external_id is not distinct from record.external_id
        and users.name is not distinct from record.name
        and users.password_hash is not distinct from record.password_hash as is_equal
      from users
      where users.id = record.id
        or users.external_id = record.external_id
        or users.canonical_email = record.canonical_email
        or users.username = record.username
        or (
          username_skeleton(users.username) = username_skeleton(record.username)
          and not users.username_lookalike
        )
      order by is_id desc, is_external_id desc, is_email desc limit 1
    ) as existing`
}

interface Explained { id: string, outcome: 'already_exists' | 'username_taken' | TakenReason }

class DryRun extends Error {}

/**
 * Creates accounts from records, no two of which have the same id, in one transaction, each with its audit
 * event. An existing account is never changed. Returns the outcome of each record. A dry run returns the same
 * outcomes, and rolls back.
 */
export async function importBatch (
  db: Database, batch: ImportRecord[], origin: audit.Origin, { dryRun }: { dryRun: boolean }
): Promise<ImportOutcome[]> {
  const rows = batch.map(({ id, email, status, leftOut: _, ...record }, index) => ({
    ...record,
    id: id ?? newId(),
    has_id: id !== undefined,
    line_order: index,
    email: email.address,
    canonical_email: email.canonical,
    disabled: status === 'disabled'
  }))
  const outcomes = new Map<string, ImportOutcome>()
  const withoutUsername = new Set<string>()
  try {
    await db.transaction(async tx => {
      const undecided = () => JSON.stringify(rows.filter(({ id }) => !outcomes.has(id)).map(row =>
        withoutUsername.has(row.id) ? { ...row, username: null } : row))
      // A conflicting account may be deleted before the second statement looks at it, so both are repeated.
      while (outcomes.size < rows.length) {
        const inserted = await tx.query<{ id: string }>(insertion, [undecided(), origin])
        for (const { id } of inserted) {
          outcomes.set(id, withoutUsername.has(id) ? 'without_username' : 'imported')
        }
        if (outcomes.size === rows.length) break
        const explained = await tx.query<Explained>(explanation, [undecided()])
        for (const { id, outcome } of explained) {
          if (outcome === 'username_taken') withoutUsername.add(id)
          else outcomes.set(id, outcome)
        }
      }
      if (dryRun) throw new DryRun()
    })
  } catch (error) {
    if (!(error instanceof DryRun)) throw error
  }
  return rows.map(({ id }) => outcomes.get(id) ?? 'already_exists')
}
