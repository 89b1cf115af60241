import Fastify from 'fastify'
import { answer } from './baseline.ts'

interface ServedResponse { status: number, headers: Record<string, string>, body: string }

/** Serves the bytes of an answer of the service, without any of its work. Returns the port. */
answer<ServedResponse>(async ({ status, headers, body }) => {
  const app = Fastify()
  app.get('/oauth/authorize', async (_request, reply) => await reply.code(status).headers(headers).send(body))
  return Number(new URL(await app.listen({ host: '127.0.0.1', port: 0 })).port)
})
