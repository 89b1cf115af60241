import jwt from '@fastify/jwt'
import Fastify from 'fastify'
import { answer } from './baseline.ts'

/**
 * Serves the least work of a token check: @fastify/jwt with one known key and its cache. Returns the port.
 */
answer<{ publicKey: string }>(async ({ publicKey }) => {
  const app = Fastify()
  await app.register(jwt, {
    secret: { private: '', public: publicKey },
    verify: { algorithms: ['ES256'], cache: true }
  })
  app.get('/verify', async (request, reply) => {
    await request.jwtVerify()
    return await reply.code(204).send()
  })
  return Number(new URL(await app.listen({ host: '127.0.0.1', port: 0 })).port)
})
