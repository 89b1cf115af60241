import { quote, type Finding, type Scope } from './finding.ts'

/** The rights of the runtime role that grants on tables and functions cannot limit. */
export interface RoleRow {
  owner: string
  isSuperuser: boolean
  isOwner: boolean
  isRoleCreator: boolean
  database: string
  ownsDatabase: boolean
  ownsSchema: boolean
  mayUseSchema: boolean
  mayCreateInSchema: boolean
  writesEverything: boolean
}

/**
 * Parameters: the schema, the runtime role, and the owner; if that is null, the owner of schema_migrations.
 */
export const selectRoles = `
  select owner.rolname as owner, runtime.rolsuper as "isSuperuser", datname as database,
    pg_has_role(runtime.oid, owner.oid, 'member') as "isOwner",
    runtime.rolcreaterole and current_setting('server_version_num')::int < 160000 as "isRoleCreator",
    pg_has_role(runtime.oid, datdba, 'member') as "ownsDatabase",
    nspowner <> 'pg_database_owner'::regrole and pg_has_role(runtime.oid, nspowner, 'member') as "ownsSchema",
    has_schema_privilege(runtime.oid, pg_namespace.oid, 'usage') as "mayUseSchema",
    has_schema_privilege(runtime.oid, pg_namespace.oid, 'create') as "mayCreateInSchema",
    pg_has_role(runtime.oid, 'pg_write_all_data'::regrole, 'usage') as "writesEverything"
  from pg_namespace
  join pg_database on datname = current_database()
  join pg_roles as runtime on runtime.rolname = $2
  join pg_roles as owner on owner.oid = coalesce(
    (select oid from pg_roles where rolname = $3),
    (select relowner from pg_class where relnamespace = pg_namespace.oid and relname = 'schema_migrations')
  )
  where nspname = $1`

/** Compares the rights of the runtime role with those that it needs. */
export function findRoleProblems (roles: RoleRow, { schema, runtime, owner, isSeparate }: Scope): Finding[] {
  const [quotedSchema, quotedRuntime, quotedOwner] = [quote(schema), quote(runtime), quote(owner)]
  const database = quote(roles.database)
  const findings: Finding[] = []
  const add = (kind: 'schema' | 'role', problem: string, sql: string) => {
    findings.push({ kind, object: kind === 'schema' ? quotedSchema : quotedRuntime, problem, sql: [sql] })
  }
  if (!roles.mayUseSchema) {
    const sql = `grant usage on schema ${quotedSchema} to ${quotedRuntime}`
    const problem = `role ${runtime} may not use it`
    findings.push({ kind: 'schema', object: quotedSchema, problem, sql: [sql], blocks: true })
  }
  if (!isSeparate) return findings
  if (roles.ownsDatabase) {
    const problem = `role ${runtime} owns it, and so may drop the tables in it`
    const sql = [`alter database ${database} owner to ${quotedOwner}`]
    findings.push({ kind: 'database', object: database, problem, sql })
  }
  if (roles.ownsSchema) {
    add('schema', `role ${runtime} owns it, and so may drop the tables in it`,
      `alter schema ${quotedSchema} owner to ${quotedOwner}`)
  }
  // An owner may always create objects; the findings above report that.
  if (roles.mayCreateInSchema && !roles.ownsDatabase && !roles.ownsSchema) {
    add('schema', `role ${runtime} may create objects in it`,
      `revoke create on schema ${quotedSchema} from public, ${quotedRuntime}`)
  }
  if (roles.isRoleCreator) {
    add('role', 'it may create roles, and before PostgreSQL 16 so may join any role',
      `alter role ${quotedRuntime} nocreaterole`)
  }
  if (roles.writesEverything) {
    add('role', 'it is a member of pg_write_all_data, and so may change the audit log',
      `revoke pg_write_all_data from ${quotedRuntime}`)
  }
  return findings
}
