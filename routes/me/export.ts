import { Readable } from 'node:stream'
import { Type, type Static } from '@sinclair/typebox'
import { exportPersonalData } from '../../src/accounts/data-export.ts'
import { personalData } from '../../src/capabilities.ts'
import { invalidToken } from '../../src/http/problems.ts'
import * as sessions from '../../src/sessions/owner.ts'
import { originOf, userOf, type Typed } from '../typed.ts'
import { PersonalData } from './personal-data.ts'

// How long a client may take to read a piece, which is one page of rows at most.
const readTimeoutMs = 30_000

/** Passes the pieces on, and calls `onStall` if the reader takes too long for one. */
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
  'One JSON document, which is sent while it is read. If the connection breaks, the document is incomplete and does not',
  'parse. Events that another user caused do not tell where their requests came from. Actions of the user on others do',
  'not tell whom they affected. One export of an account runs at a time: a second one is refused with',
  '`too_many_requests` until the first has ended.'
].join(' ')

const schema = Type.Unsafe<Static<typeof PersonalData> | Readable | string>(PersonalData)

const dataExport: Typed = async (app) => {
  app.get('/export', {
    schema: {
      operationId: 'exportMe',
      tags: ['Account'],
      summary: 'Export your data',
      description,
      security: [{ bearer: [] }],
      response: {
        200: { description: 'Everything that is held about the user, except secrets.', content: { 'application/json': { schema } } }
      }
    },
    config: {
      limit: 'mail',
      endless: true,
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
    const found = await exportPersonalData(app.db, user.id, personalData, originOf(request))
    if (!found) throw invalidToken(true, 'the account is gone')
    const { pieces, release } = found
    const limited = limitReadTime(pieces, () => { body.destroy() })
    const body = Readable.from(limited, { objectMode: false, highWaterMark: 64 * 1024 })
    // The client may also have gone, or stalled. If the release fails, the lease expires.
    body.once('close', () => {
      release().catch((error: unknown) => request.log.warn({ err: error }, 'export lease not released'))
    })
    return reply.headers(headers).send(body)
  })
}

export default dataExport
