import { foreignOwnerFinding, quote, type Finding, type Scope } from './finding.ts'

/** The owner of a function, and the privileges on it. */
export interface FunctionRow {
  signature: string
  owner: string
  /** Whether the function runs with the rights of its owner. */
  isDefiner: boolean
  /** Whether the function looks names up in the service's schema alone. */
  hasSearchPath: boolean
  mayCall: boolean
  isPublic: boolean
}

/** Parameters: the schema, the quoted runtime role, and the names of the functions. */
export const selectFunctions = `
  select format('%I.%I(%s)', nspname, proname, pg_get_function_identity_arguments(pg_proc.oid)) as signature,
    pg_get_userbyid(proowner)::text as owner, prosecdef as "isDefiner",
    coalesce(
      proconfig @> array[format('search_path=pg_catalog, %I, pg_temp', nspname)], false
    ) as "hasSearchPath",
    has_function_privilege($2::regrole::oid, pg_proc.oid, 'execute') as "mayCall",
    exists (
      select from aclexplode(coalesce(proacl, acldefault('f', proowner))) where grantee = 0
    ) as "isPublic"
  from pg_proc join pg_namespace on pg_namespace.oid = pronamespace
  where nspname = $1 and proname = any ($3)
  order by 1`

/** Compares the owner and the privileges of a function with those that the service relies on. */
export function findFunctionProblems (row: FunctionRow, { schema, runtime, owner }: Scope): Finding[] {
  const { signature: object } = row
  const findings: Finding[] = []
  const add = (problem: string, ...sql: string[]) => {
    findings.push({ kind: 'function', object, problem, sql })
  }
  const grant = `grant execute on function ${object} to ${quote(runtime)}`
  if (row.owner !== owner) {
    const finding = foreignOwnerFinding('function', object, row.owner, owner)
    findings.push({ ...finding, isDefiner: row.isDefiner })
  }
  if (row.isPublic) {
    // The grant comes first, so that the service may call the function at any time.
    add('every role may call it', grant, `revoke execute on function ${object} from public`)
  } else if (!row.mayCall) {
    findings.push({
      kind: 'function', object, problem: `role ${runtime} may not call it`, sql: [grant], blocks: true
    })
  }
  if (row.isDefiner && !row.hasSearchPath) {
    add('it runs with the rights of its owner, but its search_path lets others choose the tables',
      `alter function ${object} set search_path = pg_catalog, ${quote(schema)}, pg_temp`)
  }
  return findings
}
