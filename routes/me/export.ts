import { Readable } from 'node:stream'
import { Type, type Static } from '@sinclair/typebox'
import { exportPersonalData } from '../../src/accounts/data-export.ts'
import { personalData } from '../../src/capabilities.ts'
import { invalidToken } from '../../src/http/problems.ts'
import * as sessions from '../../src/sessions/owner.ts'
import { originOf, userOf, type Typed } from '../typed.ts'
import { PersonalData } from './personal-data.ts'

// How long a client may take to read one piece, which is at most one page of rows.
const readTimeoutMs = 30_000

/** Yields the pieces, and calls `onStall` if the reader takes too long for one. */
async function * limitReadTime (pieces: AsyncIterable<string>, onStall: () => void) {
  for await (const piece of pieces) {
    const timer = setTimeout(onStall, readTimeoutMs).unref()
    try {
      yield piece
    } finally {
      clearTimeout(timer)
    }
  }
}

const description = [
  'Streams one JSON document. If the connection breaks, the document is incomplete and does not parse.',
  'Events that another user caused do not include the network address and browser of that user. Actions on',
  'other users do not name them. Only one export of an account runs at a time: until it has ended, another',
  'one is refused with `too_many_requests`.'
].join(' ')

const schema = Type.Unsafe<Static<typeof PersonalData> | Readable | string>(PersonalData)

const exportRoute: Typed = async (app) => {
  app.get('/export', {
    schema: {
      operationId: 'exportMe',
      tags: ['Account'],
      summary: 'Export your data',
      description,
      security: [{ bearer: [] }],
      response: {
        200: {
          description: 'All data about the user, except secrets.',
          content: { 'application/json': { schema } }
        }
      }
    },
    config: {
      limit: 'mail',
      isEndless: true,
      problems: ['invalid_token', 'forbidden', 'too_many_requests', 'database_unavailable']
    }
  }, async (request, reply) => {
    const user = await sessions.findUser(app.db, userOf(request).sid)
    if (!user) throw invalidToken(true, 'the session has ended')
    const headers = {
      'content-type': 'application/json; charset=utf-8',
      'content-disposition': 'attachment; filename="account.json"'
    }
    if (request.method === 'HEAD') return reply.headers(headers).send('')
    const dataExport = await exportPersonalData(app.db, user.id, personalData, originOf(request))
    if (!dataExport) throw invalidToken(true, 'the account was deleted')
    const { pieces, release } = dataExport
    const limited = limitReadTime(pieces, () => { body.destroy() })
    const body = Readable.from(limited, { objectMode: false, highWaterMark: 64 * 1024 })
    // The client may have disconnected or stalled. If the release fails, the lease expires.
    body.once('close', () => {
      release().catch((error: unknown) => request.log.warn({ err: error }, 'export lease not released'))
    })
    return reply.headers(headers).send(body)
  })
}

export default exportRoute
