import Fastify from 'fastify'
import pg from 'pg'
import { answer } from './bare.ts'

const insert = { name: 'bare', text: 'insert into bare (address) values ($1)' }

/** Listens with the least that a request for a mail can be: one row written for good. */
answer<{ url: string }>(async ({ url }) => {
  const pool = new pg.Pool({ connectionString: url, max: 10 })
  await pool.query('create table bare (id bigserial primary key, address text not null)')
  const app = Fastify()
  app.post<{ Body: { email: string } }>('/ask', async ({ body: { email } }, reply) => {
    await pool.query({ ...insert, values: [email] })
    return await reply.code(202).send({ status: 'accepted' })
  })
  return Number(new URL(await app.listen({ host: '127.0.0.1', port: 0 })).port)
})
