import Fastify from 'fastify'
import { connect } from '../src/database/database.ts'
import { answer } from './baseline.ts'

const insert = { name: 'baseline', text: 'insert into baseline (address) values ($1)' }

/**
 * Serves the least work of a requested mail: one durable transaction that inserts one row. Returns the port.
 */
answer<{ url: string }>(async ({ url }) => {
  const db = connect({ url })
  await db.query('create table baseline (id bigserial primary key, address text not null)')
  const app = Fastify()
  app.post<{ Body: { email: string } }>('/request', async ({ body: { email } }, reply) => {
    await db.transaction(async tx => await tx.query(insert, [email]))
    return await reply.code(202).send({ status: 'accepted' })
  })
  return Number(new URL(await app.listen({ host: '127.0.0.1', port: 0 })).port)
})
