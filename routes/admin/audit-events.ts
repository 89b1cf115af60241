import { Type } from '@sinclair/typebox'
import { list } from '../../src/audit/query.ts'
import { validationFailed } from '../../src/http/problems.ts'
import { id, page, pageOf, paging } from '../schemas.ts'
import { strict, type Typed } from '../typed.ts'
import { AuditEvent, eventType } from './schemas.ts'

const timeParameter = (description: string) => Type.Optional(Type.String({
  format: 'date-time', description, examples: ['2026-11-22T09:00:00Z']
}))

/**
 * Parses a time of the query, to the millisecond. Throws `validation_failed` for a date that does not exist.
 */
function parseTime (name: string, text: string | undefined): Date | undefined {
  if (text === undefined) return undefined
  const time = new Date(text)
  if (Number.isNaN(time.getTime())) {
    const violations = [{ pointer: `/${name}`, detail: 'must be a time (RFC 3339)' }]
    throw validationFailed(`\`${name}\` is not a valid time.`, violations)
  }
  return time
}

/** The audit log. */
const auditEvents: Typed = async (app) => {
  app.get('', {
    schema: {
      operationId: 'listAuditEvents',
      tags: ['Administration'],
      summary: 'Read the audit log',
      description: 'Lists the events, newest first. Filters are combined with AND.',
      security: [{ bearer: [] }],
      querystring: strict({
        user_id: Type.Optional(Type.String({ ...id, description: 'The user that the events are about.' })),
        actor_id: Type.Optional(Type.String({ ...id, description: 'The user who caused the events.' })),
        type: Type.Optional(eventType),
        since: timeParameter('The earliest time of the events, inclusive.'),
        until: timeParameter('The end of the period, exclusive.'),
        ...paging
      }),
      response: { 200: page(AuditEvent) }
    },
    config: { problems: ['invalid_token', 'forbidden', 'database_unavailable'] }
  }, async request => {
    const { limit = 20, cursor, user_id: userId, actor_id: actorId, type } = request.query
    const since = parseTime('since', request.query.since)
    const until = parseTime('until', request.query.until)
    const filter = { userId, actorId, type, since, until }
    const events = await list(app.db, filter, { before: cursor, limit: limit + 1 })
    return pageOf(events, limit, ({ id }) => id)
  })
}

export default auditEvents
