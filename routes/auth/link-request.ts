import type { FastifyInstance } from 'fastify'
import type { LinkLives } from '../../src/accounts/mail-context.ts'
import { request, type Asked } from '../../src/accounts/email-links.ts'
import { accepted, email } from '../schemas.ts'
import { mailContextOf, strict, type Typed } from '../typed.ts'

export interface Asking {
  path: string
  kind: Asked
  operationId: string
  summary: string
  /** What the link does. */
  does: string
  links: LinkLives
}

/** The route by which a link is asked for: it answers everybody alike. */
export async function asking (server: FastifyInstance, { path, kind, operationId, summary, does, links }: Asking): Promise<void> {
  const route: Typed = async app => {
    app.post(path, {
      schema: {
        operationId,
        tags: ['Links'],
        summary,
        description: `${does} Whether there is such an account, and whether a mail was sent, does not show.`,
        security: [],
        body: strict({ email }, { examples: [{ email: 'ada@example.com' }] }),
        response: { 202: accepted }
      },
      config: { limit: 'mail', problems: ['database_unavailable'] }
    }, async (asked, reply) => {
      await request(app.db, kind, asked.body.email, mailContextOf(asked, links))
      app.jobs.wake('mail')
      return reply.code(202).send({ status: 'accepted' })
    })
  }
  await server.register(route)
}
