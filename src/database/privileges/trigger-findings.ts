import type { DeclaredTrigger } from '../declared-objects.ts'
import { quote, type Finding } from './finding.ts'

/** A trigger of the database. */
export interface TriggerRow { name: string, table: string, isEnabled: boolean }

/** The parameter is the schema. */
export const selectTriggers = `
  select tgname as name, relname as table, tgenabled in ('O', 'A') as "isEnabled"
  from pg_trigger join pg_class on pg_class.oid = tgrelid join pg_namespace on pg_namespace.oid = relnamespace
  where nspname = $1 and not tgisinternal`

// Rebuilds the table that the triggers on `users` maintain.
const rebuildUserRoles = [
  'delete from user_roles',
  `insert into user_roles (role, disabled, canonical_email)
    select distinct role, disabled_at is not null, canonical_email from users, unnest(roles) as role`
]

/** Finds a trigger that is missing or disabled, in the state `actual` of the database. */
export function findTriggerProblem (
  { name, table, sql }: DeclaredTrigger, actual: TriggerRow | undefined, schema: string
): Finding[] {
  if (actual?.isEnabled) return []
  const qualified = `${quote(schema)}.${quote(table)}`
  return [{
    kind: 'trigger',
    object: `${quote(name)} on ${qualified}`,
    problem: actual ? 'it is disabled' : 'it is missing',
    sql: [
      `set local search_path = ${quote(schema)}, pg_catalog`,
      actual ? `alter table ${qualified} enable trigger ${quote(name)}` : sql,
      ...table === 'users' ? rebuildUserRoles : []
    ]
  }]
}
