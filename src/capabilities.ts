import assert from 'node:assert/strict'
import { capability as accounts } from './accounts/capability.ts'
import { capability as audit } from './audit/capability.ts'
import type { AuditEventType } from './audit/events.ts'
import { capability as authentication } from './authentication/capability.ts'
import type { Capability, MailKindDeclaration } from './capability.ts'
import { capability as clients } from './clients/capability.ts'
import type { ProblemCode, ProblemDefinition } from './http/problem.ts'
import { problems as httpProblems } from './http/problems.ts'
import { capability as delegation } from './delegation/capability.ts'
import { capability as jobs } from './jobs/capability.ts'
import { capability as mail } from './mail/capability.ts'
import type { MailKind, MailKindList } from './mail/mail-kinds.ts'
import { capability as oneTimeTokens } from './one-time-tokens/capability.ts'
import { capability as passwords } from './passwords/capability.ts'
import { capability as sessions } from './sessions/capability.ts'
import { capability as throttle } from './throttle/capability.ts'
import { capability as tokens } from './tokens/capability.ts'
import { capability as transfer } from './transfer/capability.ts'
import { capability as users } from './users/capability.ts'
import { capability as webhooks } from './webhooks/capability.ts'

// The only list of capabilities. Add a new one here.
const declared = [
  users, passwords, accounts, authentication, sessions, oneTimeTokens, throttle, transfer, clients, tokens,
  delegation, mail, webhooks, jobs, audit
]

const capabilities: readonly Capability[] = declared

/** All problems that a client can get. Those of HTTP come first. */
export const problemDefinitions: readonly ProblemDefinition[] = [
  ...Object.values(httpProblems),
  ...capabilities.flatMap(({ problems = {} }) => Object.values(problems))
]

const problemsByCode = new Map(problemDefinitions.map(problem => [problem.code, problem]))

/** Finds the definition of a problem. */
export function findProblem (code: ProblemCode): ProblemDefinition {
  const definition = problemsByCode.get(code)
  assert(definition, `no capability declares the problem ${code}`)
  return definition
}

const mailKindList =
  declared.flatMap(capability => 'mailKinds' in capability ? [...capability.mailKinds] : [])

/** The kinds of all mails. */
export const mailKinds: MailKindList = new Map<MailKind, MailKindDeclaration>(
  mailKindList.map(declaration => [declaration.kind, declaration])
)

/** The counters of the metrics. */
export const counters = capabilities.flatMap(({ counters = [] }) => counters)

/** The types of all audit events. */
export const auditEventTypes: readonly AuditEventType[] =
  declared.flatMap(capability => 'auditEvents' in capability ? [...capability.auditEvents] : [])

/** The parts of the data export, in addition to the account itself. */
export const personalData = capabilities.flatMap(({ personalData = [] }) => personalData)

/** The sealed columns of all tables. */
export const sealedColumns = capabilities.flatMap(({ sealedColumns = [] }) => sealedColumns)

/** The tasks of housekeeping, in this order. */
export const housekeepingTasks = capabilities.flatMap(({ housekeeping = [] }) => housekeeping)
