import formbody from '@fastify/formbody'
import fp from 'fastify-plugin'

/** Makes the routes of its scope accept forms, and no other bodies. */
export default fp(async function formBody (app) {
  app.removeAllContentTypeParsers()
  await app.register(formbody)
}, { name: 'form-body' })
