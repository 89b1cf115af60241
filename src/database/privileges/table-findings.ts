import { foreignOwnerFinding, quote, type Finding, type Scope } from './finding.ts'

/** The owner of a table, and the privileges on it. */
export interface TableRow {
  name: string
  owner: string
  /** The privileges that the runtime role has, directly or indirectly. */
  held: string[]
  /** The privileges that are granted to the runtime role itself. */
  granted: string[]
  ofOwner: string[]
  ofPublic: string[]
}

/** All privileges that a role can have on a table. */
export const tablePrivileges = ['select', 'insert', 'update', 'delete', 'truncate', 'references', 'trigger']
const ownerPrivileges = ['select', 'insert', 'update', 'delete', 'references', 'trigger']
const changingPrivileges = ['update', 'delete', 'truncate']

const acl = "coalesce(relacl, acldefault('r', relowner))"

/** Parameters: the schema, the quoted runtime role, the names of the tables, and `tablePrivileges`. */
export const selectTables = `
  select relname as name, pg_get_userbyid(relowner)::text as owner,
    array(
      select privilege from unnest($4::text[]) as privilege
      where has_table_privilege($2::regrole::oid, pg_class.oid, privilege)
    ) as held,
    array(select lower(privilege_type) from aclexplode(${acl}) where grantee = $2::regrole) as granted,
    array(select lower(privilege_type) from aclexplode(${acl}) where grantee = relowner) as "ofOwner",
    array(select lower(privilege_type) from aclexplode(${acl}) where grantee = 0) as "ofPublic"
  from pg_class join pg_namespace on pg_namespace.oid = relnamespace
  where nspname = $1 and relkind in ('r', 'p') and relname = any ($3)
  order by relname`

function neededPrivileges (table: string, isSeparate: boolean): string[] {
  if (table === 'audit_events') return ['select', 'insert']
  if (table === 'schema_migrations' && isSeparate) return ['select']
  return ['select', 'insert', 'update', 'delete']
}

/** Compares the owner and the privileges of a table with those that the service relies on. */
export function findTableProblems (table: TableRow, scope: Scope): Finding[] {
  const { schema, runtime, owner, isSeparate } = scope
  const object = `${quote(schema)}.${quote(table.name)}`
  const findings: Finding[] = []
  const add = (problem: string, sql: string) => {
    findings.push({ kind: 'table', object, problem, sql: [sql] })
  }
  const needed = neededPrivileges(table.name, isSeparate)
  if (table.owner !== owner) findings.push(foreignOwnerFinding('table', object, table.owner, owner))
  const missing = needed.filter(privilege => !table.held.includes(privilege)).join(', ')
  if (missing !== '') {
    const sql = `grant ${missing} on ${object} to ${quote(runtime)}`
    const problem = `role ${runtime} lacks ${missing}`
    findings.push({ kind: 'table', object, problem, sql: [sql], blocks: true })
  }
  const excess = table.granted.filter(privilege => isSeparate && !needed.includes(privilege)).join(', ')
  if (excess !== '') {
    add(`role ${runtime} has ${excess}`, `revoke ${excess} on ${object} from ${quote(runtime)}`)
  }
  if (table.ofPublic.length > 0) {
    add(`every role has ${table.ofPublic.join(', ')}`, `revoke all on ${object} from public`)
  }
  // The functions that run with the owner's rights, foreign keys and triggers need the owner's privileges.
  const lost = ownerPrivileges
    .filter(privilege => isSeparate && !table.ofOwner.includes(privilege)).join(', ')
  if (lost !== '') add(`its owner ${owner} lacks ${lost}`, `grant ${lost} on ${object} to ${quote(owner)}`)
  const changing = changingPrivileges.filter(privilege => table.ofOwner.includes(privilege)).join(', ')
  if (!isSeparate && table.name === 'audit_events' && changing !== '') {
    add(`its owner ${owner} has ${changing}`, `revoke ${changing} on ${object} from ${quote(owner)}`)
  }
  return findings
}
