import pg from 'pg'
import type { DeclaredObjects } from './declared-objects.ts'

/**
 * Something in the database that differs from what the service relies on, and the statements that repair it.
 */
export interface Finding {
  kind: 'role' | 'database' | 'schema' | 'table' | 'function' | 'trigger'
  /** As SQL names it. */
  object: string
  problem: string
  sql: string[]
  /** The role that owns the object, if another one should. */
  foreignOwner?: string
}

/** A finding as logs and commands show it. */
export const describe = ({ kind, object, problem, sql }: Finding) =>
  ({ object: `${kind} ${object}`, problem, sql: sql.join('; ') })

/** The role that the service logs in as, and where its tables are. */
export interface RuntimeRole { name: string, schema: string }

export interface InspectionTarget {
  runtime: RuntimeRole
  declared: DeclaredObjects
  /** The role that should own everything; unless given, the owner of schema_migrations. */
  owner?: string | undefined
}

/** `separate`: the service's role does not own the tables, so that grants bind it. */
export type RoleSeparation = 'separate' | 'single' | 'superuser'

export interface Inspection { separation: RoleSeparation, owner: string, findings: Finding[] }

const quote = pg.escapeIdentifier
const tablePrivileges = ['select', 'insert', 'update', 'delete', 'truncate', 'references', 'trigger']
const ownerPrivileges = ['select', 'insert', 'update', 'delete', 'references', 'trigger']
const changing = ['update', 'delete', 'truncate']

interface RoleRow {
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
const roleQuery = `
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
    (select relowner from pg_class where relnamespace = pg_namespace.oid and relname = 'schema_migrations'))
  where nspname = $1`

interface TableRow {
  name: string
  owner: string
  held: string[]
  granted: string[]
  ofOwner: string[]
  ofPublic: string[]
}
const tableAcl = "coalesce(relacl, acldefault('r', relowner))"
const tableQuery = `
  select relname as name, pg_get_userbyid(relowner)::text as owner,
    array(select each from unnest($4::text[]) as each 
      where has_table_privilege($2::regrole::oid, pg_class.oid, each)) as held,
    array(select lower(privilege_type) from aclexplode(${tableAcl}) where grantee = $2::regrole) as granted,
    array(select lower(privilege_type) from aclexplode(${tableAcl}) where grantee = relowner) as "ofOwner",
    array(select lower(privilege_type) from aclexplode(${tableAcl}) where grantee = 0) as "ofPublic"
  from pg_class
  join pg_namespace on pg_namespace.oid = relnamespace
  where nspname = $1 and relkind in ('r', 'p') and relname = any ($3)
  order by relname`

interface FunctionRow {
  signature: string
  owner: string
  isDefiner: boolean
  hasPath: boolean
  mayCall: boolean
  isPublic: boolean
}
const functionQuery = `
  select format('%I.%I(%s)', nspname, proname, pg_get_function_identity_arguments(pg_proc.oid)) as signature,
    pg_get_userbyid(proowner)::text as owner, prosecdef as "isDefiner",
    coalesce(proconfig @> array[format('search_path=pg_catalog, %I, pg_temp', nspname)], false) as "hasPath",
    has_function_privilege($2::regrole::oid, pg_proc.oid, 'execute') as "mayCall",
    exists (
      select from aclexplode(coalesce(proacl, acldefault('f', proowner))) where grantee = 0) as "isPublic"
  from pg_proc join pg_namespace on pg_namespace.oid = pronamespace
  where nspname = $1 and proname = any ($3)
  order by 1`

interface TriggerRow { name: string, table: string, isEnabled: boolean }
const triggerQuery = `
  select tgname as name, relname as table, tgenabled in ('O', 'A') as "isEnabled"
  from pg_trigger join pg_class on pg_class.oid = tgrelid join pg_namespace on pg_namespace.oid = relnamespace
  where nspname = $1 and not tgisinternal`

/**
 * Compares roles, privileges, ownership and triggers with what the service relies on. Every role may do this.
 * Throws if the schema or a role does not exist.
 */
export async function inspect (client: pg.ClientBase, target: InspectionTarget): Promise<Inspection> {
  const { runtime: { name, schema }, declared } = target
  const rows = async <Row extends object>(text: string, values: unknown[]) =>
    (await client.query<Row>(text, values)).rows
  const [roles] = await rows<RoleRow>(roleQuery, [schema, name, target.owner ?? null])
  if (!roles) throw new Error(`the schema ${schema} has no table schema_migrations: run latchkey migrate`)
  const tables = await rows<TableRow>(tableQuery, [schema, quote(name), declared.tables, tablePrivileges])
  const functions = await rows<FunctionRow>(functionQuery, [schema, quote(name), declared.functions])
  const triggers = await rows<TriggerRow>(triggerQuery, [schema])

  const separation = roles.isSuperuser ? 'superuser' : roles.isOwner ? 'single' : 'separate'
  const scope: Scope = { schema, runtime: name, owner: roles.owner, isSeparate: separation === 'separate' }
  return {
    separation,
    owner: roles.owner,
    findings: [
      ...roleFindings(roles, scope),
      ...tables.flatMap(table => tableFindings(table, scope)),
      ...functions.flatMap(each => functionFindings(each, scope)),
      ...triggerFindings(declared, { tables, triggers }, scope)
    ]
  }
}

interface Scope { schema: string, runtime: string, owner: string, isSeparate: boolean }

function roleFindings (roles: RoleRow, { schema, runtime, owner, isSeparate }: Scope): Finding[] {
  const [quotedSchema, quotedRuntime, quotedOwner] = [quote(schema), quote(runtime), quote(owner)]
  const database = quote(roles.database)
  const inSchema = (problem: string, sql: string): Finding =>
    ({ kind: 'schema', object: quotedSchema, problem, sql: [sql] })
  const inRole = (problem: string, sql: string): Finding =>
    ({ kind: 'role', object: quotedRuntime, problem, sql: [sql] })
  const findings: Finding[] = []
  if (!roles.mayUseSchema) {
    findings.push(inSchema(`role ${runtime} may not use it`,
      `grant usage on schema ${quotedSchema} to ${quotedRuntime}`))
  }
  if (!isSeparate) return findings
  if (roles.ownsDatabase) {
    const problem = `role ${runtime} owns it, and so may drop the tables in it`
    const sql = [`alter database ${database} owner to ${quotedOwner}`]
    findings.push({ kind: 'database', object: database, problem, sql })
  }
  if (roles.ownsSchema) {
    findings.push(inSchema(`role ${runtime} owns it, and so may drop the tables in it`,
      `alter schema ${quotedSchema} owner to ${quotedOwner}`))
  }
  // An owner may always create objects; the findings above report that.
  if (roles.mayCreateInSchema && !roles.ownsDatabase && !roles.ownsSchema) {
    findings.push(inSchema(`role ${runtime} may create objects in it`,
      `revoke create on schema ${quotedSchema} from public, ${quotedRuntime}`))
  }
  if (roles.isRoleCreator) {
    findings.push(inRole('it may create roles, and before PostgreSQL 16 so may join any role',
      `alter role ${quotedRuntime} nocreaterole`))
  }
  if (roles.writesEverything) {
    findings.push(inRole('it is a member of pg_write_all_data, and so may change the audit log',
      `revoke pg_write_all_data from ${quotedRuntime}`))
  }
  return findings
}

function neededOn (table: string, isSeparate: boolean): string[] {
  if (table === 'audit_events') return ['select', 'insert']
  if (table === 'schema_migrations' && isSeparate) return ['select']
  return ['select', 'insert', 'update', 'delete']
}

function tableFindings (table: TableRow, { schema, runtime, owner, isSeparate }: Scope): Finding[] {
  const object = `${quote(schema)}.${quote(table.name)}`
  const findings: Finding[] = []
  const add = (problem: string, sql: string) => {
    findings.push({ kind: 'table', object, problem, sql: [sql] })
  }
  const needed = neededOn(table.name, isSeparate)
  if (table.owner !== owner) findings.push(foreign('table', object, table.owner, owner))
  const missing = needed.filter(privilege => !table.held.includes(privilege)).join(', ')
  if (missing !== '') {
    add(`role ${runtime} lacks ${missing}`, `grant ${missing} on ${object} to ${quote(runtime)}`)
  }
  const excess = table.granted.filter(privilege => isSeparate && !needed.includes(privilege)).join(', ')
  if (excess !== '') {
    add(`role ${runtime} has ${excess}`, `revoke ${excess} on ${object} from ${quote(runtime)}`)
  }
  if (table.ofPublic.length > 0) {
    add(`every role has ${table.ofPublic.join(', ')}`, `revoke all on ${object} from public`)
  }
  // The functions that run with the owner's rights, foreign keys and triggers need the owner's privileges.
  const lost = isSeparate ? ownerPrivileges.filter(each => !table.ofOwner.includes(each)).join(', ') : ''
  if (lost !== '') add(`its owner ${owner} lacks ${lost}`, `grant ${lost} on ${object} to ${quote(owner)}`)
  const changes = changing.filter(privilege => table.ofOwner.includes(privilege)).join(', ')
  if (!isSeparate && table.name === 'audit_events' && changes !== '') {
    add(`its owner ${owner} has ${changes}`, `revoke ${changes} on ${object} from ${quote(owner)}`)
  }
  return findings
}

type Owned = 'table' | 'function'
const foreign = (kind: Owned, object: string, foreignOwner: string, owner: string): Finding => ({
  kind,
  object,
  problem: `it belongs to role ${foreignOwner} instead of ${owner}`,
  sql: [`alter ${kind} ${object} owner to ${quote(owner)}`],
  foreignOwner
})

function functionFindings (row: FunctionRow, { schema, runtime, owner }: Scope): Finding[] {
  const { signature: object } = row
  const findings: Finding[] = []
  const add = (problem: string, ...sql: string[]) => {
    findings.push({ kind: 'function', object, problem, sql })
  }
  const granted = `grant execute on function ${object} to ${quote(runtime)}`
  if (row.owner !== owner) findings.push(foreign('function', object, row.owner, owner))
  if (row.isPublic) {
    // The grant comes first, so that the service may call the function at any time.
    add('every role may call it', granted, `revoke execute on function ${object} from public`)
  } else if (!row.mayCall) {
    add(`role ${runtime} may not call it`, granted)
  }
  if (row.isDefiner && !row.hasPath) {
    add('it runs with the rights of its owner, but its search_path lets others choose the tables',
      `alter function ${object} set search_path = pg_catalog, ${quote(schema)}, pg_temp`)
  }
  return findings
}

// Rebuilds what the triggers on `users` maintain.
const rolesOfUsers = [
  'delete from user_roles',
  `insert into user_roles (role, disabled, canonical_email)
    select distinct role, disabled_at is not null, canonical_email from users, unnest(roles) as role`
]

interface Found { tables: TableRow[], triggers: TriggerRow[] }

function triggerFindings ({ triggers }: DeclaredObjects, found: Found, { schema }: Scope): Finding[] {
  const findings: Finding[] = []
  for (const { name, table, sql } of triggers) {
    const actual = found.triggers.find(trigger => trigger.name === name && trigger.table === table)
    if (actual?.isEnabled || !found.tables.some(({ name }) => name === table)) continue
    const qualified = `${quote(schema)}.${quote(table)}`
    findings.push({
      kind: 'trigger',
      object: `${quote(name)} on ${qualified}`,
      problem: actual ? 'it is disabled' : 'it is missing',
      sql: [
        `set local search_path = ${quote(schema)}, pg_catalog`,
        actual ? `alter table ${qualified} enable trigger ${quote(name)}` : sql,
        ...table === 'users' ? rolesOfUsers : []
      ]
    })
  }
  return findings
}

/**
 * Executes the statements of each finding in a savepoint of the open transaction. A finding that the role may
 * not repair, or that waits too long for a lock, is skipped.
 */
export async function repair (client: pg.ClientBase, findings: readonly Finding[]): Promise<void> {
  for (const { sql } of findings) {
    await client.query('savepoint repair')
    try {
      for (const statement of sql) await client.query(statement)
      await client.query('release savepoint repair')
    } catch (error) {
      if (!(error instanceof pg.DatabaseError) || /^(08|57)/.test(error.code ?? '')) throw error
      await client.query('rollback to savepoint repair')
    }
  }
}
