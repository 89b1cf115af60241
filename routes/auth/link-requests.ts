import type { FastifyInstance } from 'fastify'
import { requestLink, type LinkKind } from '../../src/accounts/link-requests.ts'
import type { LinkLives } from '../../src/mail/mail-context.ts'
import { accepted, email } from '../schemas.ts'
import { mailContextOf, strict, type Typed } from '../typed.ts'

export interface LinkRequestRouteOptions {
  path: string
  kind: LinkKind
  operationId: string
  summary: string
  /** What the link does, as a sentence for the API document. */
  purpose: string
  links: LinkLives
}

const sameResponse = 'The response is the same whether or not the account exists.'

/** Adds a route that requests a link. */
export async function addLinkRequestRoute (
  server: FastifyInstance, options: LinkRequestRouteOptions
): Promise<void> {
  const { path, kind, operationId, summary, purpose, links } = options
  const route: Typed = async app => {
    app.post(path, {
      schema: {
        operationId,
        tags: ['Links'],
        summary,
        description: `${purpose} ${sameResponse}`,
        security: [],
        body: strict({ email }, { examples: [{ email: 'ada@example.com' }] }),
        response: { 202: accepted }
      },
      config: { limit: 'mail', problems: ['database_unavailable'] }
    }, async (request, reply) => {
      await requestLink(app.db, { kind, email: request.body.email }, mailContextOf(request, links))
      return reply.code(202).send({ status: 'accepted' })
    })
  }
  await server.register(route)
}
