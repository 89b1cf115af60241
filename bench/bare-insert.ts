import Fastify from 'fastify'
import { connect } from '../src/database/database.ts'
import { answer } from './bare.ts'

const insert = { name: 'bare', text: 'insert into bare (address) values ($1)' }

/** Listens with the least that a request for a mail can be: one transaction, with one row written for good. */
answer<{ url: string }>(async ({ url }) => {
  const db = connect({ url })
  await db.query('create table bare (id bigserial primary key, address text not null)')
  const app = Fastify()
  app.post<{ Body: { email: string } }>('/ask', async ({ body: { email } }, reply) => {
    await db.transaction(async tx => await tx.query(insert, [email]))
    return await reply.code(202).send({ status: 'accepted' })
  })
  return Number(new URL(await app.listen({ host: '127.0.0.1', port: 0 })).port)
})
