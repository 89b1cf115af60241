import pg from 'pg'
import type { DeclaredObjects } from '../declared-objects.ts'
import { quote, type Finding } from './finding.ts'
import { findFunctionProblems, selectFunctions, type FunctionRow } from './function-findings.ts'
import { findRoleProblems, selectRoles, type RoleRow } from './role-findings.ts'
import { findTableProblems, selectTables, tablePrivileges, type TableRow } from './table-findings.ts'
import { findTriggerProblem, selectTriggers, type TriggerRow } from './trigger-findings.ts'

/** The role that the service logs in as, and the schema of its tables. */
export interface RuntimeRole { name: string, schema: string }

export interface InspectionTarget {
  runtime: RuntimeRole
  declared: DeclaredObjects
  /** The role that should own everything. If undefined, the owner of schema_migrations. */
  owner?: string | undefined
}

/** `separate`: the service's role does not own the tables, so that grants bind it. */
export type RoleSeparation = 'separate' | 'single' | 'superuser'

export interface Inspection { separation: RoleSeparation, owner: string, findings: Finding[] }

/**
 * Compares roles, privileges, ownership and triggers with what the service relies on. Every role may do this.
 * Throws if the schema or a role does not exist.
 */
export async function inspect (client: pg.ClientBase, target: InspectionTarget): Promise<Inspection> {
  const { runtime: { name, schema }, declared } = target
  const select = async <Row extends object>(text: string, values: unknown[]) =>
    (await client.query<Row>(text, values)).rows
  const [roles] = await select<RoleRow>(selectRoles, [schema, name, target.owner ?? null])
  if (!roles) throw new Error(`the schema ${schema} has no table schema_migrations: run latchkey migrate`)
  const tables = await select<TableRow>(selectTables, [schema, quote(name), declared.tables, tablePrivileges])
  const functions = await select<FunctionRow>(selectFunctions, [schema, quote(name), declared.functions])
  const triggers = await select<TriggerRow>(selectTriggers, [schema])

  const { owner } = roles
  const separation = roles.isSuperuser ? 'superuser' : roles.isOwner ? 'single' : 'separate'
  const scope = { schema, runtime: name, owner, isSeparate: separation === 'separate' }
  // A trigger can be inspected only if its table exists.
  const declaredTriggers = declared.triggers.filter(({ table }) => tables.some(({ name }) => name === table))
  return {
    separation,
    owner,
    findings: [
      ...findRoleProblems(roles, scope),
      ...tables.flatMap(table => findTableProblems(table, scope)),
      ...functions.flatMap(row => findFunctionProblems(row, scope)),
      ...declaredTriggers.flatMap(trigger => {
        const actual = triggers.find(({ name, table }) => name === trigger.name && table === trigger.table)
        return findTriggerProblem(trigger, actual, schema)
      })
    ]
  }
}
