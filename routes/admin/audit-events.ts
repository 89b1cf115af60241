import { Type } from '@sinclair/typebox'
import { list } from '../../src/audit/query.ts'
import { validationFailed } from '../../src/http/problems.ts'
import { id, page, pageOf, paging } from '../schemas.ts'
import { strict, type Typed } from '../typed.ts'
import { AuditEvent, eventType } from './schemas.ts'

const time = (description: string) => Type.Optional(Type.String({ format: 'date-time', description, examples: ['2026-11-22T09:00:00Z'] }))

/** Reads a time of the query, to the millisecond; throws `validation_failed` for a day that is none. */
function moment (name: string, given: string | undefined): Date | undefined {
  if (given === undefined) return undefined
  const date = new Date(given)
  if (Number.isNaN(date.getTime())) throw validationFailed('The time is not one.', [{ pointer: `/${name}`, detail: 'must be a time by RFC 3339' }])
  return date
}

/** The audit log. */
const auditEvents: Typed = async (app) => {
  app.get('', {
    schema: {
      operationId: 'listAuditEvents',
      tags: ['Administration'],
      summary: 'Read the audit log',
      description: 'What happened, the newest first. What is named narrows the list, all of it together.',
      security: [{ bearer: [] }],
      querystring: strict({
        user_id: Type.Optional(Type.String({ ...id, description: 'Whom it is about.' })),
        actor_id: Type.Optional(Type.String({ ...id, description: 'Which user did it.' })),
        type: Type.Optional(eventType),
        since: time('What happened then or later, to the millisecond.'),
        until: time('What happened before.'),
        ...paging
      }),
      response: { 200: page(AuditEvent) }
    },
    config: { problems: ['invalid_token', 'forbidden', 'database_unavailable'] }
  }, async request => {
    const { limit = 20, cursor, user_id: userId, actor_id: actorId, type, since, until } = request.query
    const found = await list(app.db, { userId, actorId, type, since: moment('since', since), until: moment('until', until) }, { before: cursor, limit: limit + 1 })
    return pageOf(found, limit, ({ id }) => id)
  })
}

export default auditEvents
