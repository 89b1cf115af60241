// A service whose users sign in with Latchkey. It verifies access tokens locally and follows the revocation
// feed.
import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import cors from '@fastify/cors'
import Fastify from 'fastify'
import verifier from 'latchkey/verifier'

interface Order { id: string, owner: string, item: string }

const {
  ISSUER_URL: issuer = 'http://localhost:3000',
  AUDIENCE: audience = issuer,
  CLIENT_ID: clientId,
  CLIENT_SECRET,
  CLIENT_SECRET_FILE: secretFile,
  // The applications whose users' tokens are accepted, and the origins of their pages; separated by commas.
  CLIENTS = '',
  CORS_ORIGINS = '',
  HOST: host = '127.0.0.1',
  PORT = '8080'
} = process.env
const clientSecret = secretFile ? readFileSync(secretFile, 'utf8').trim() : CLIENT_SECRET

const listOf = (text: string) => text.split(',').filter(item => item !== '')

const app = Fastify({ logger: true })
const orders: Order[] = []
await app.register(cors, { origin: listOf(CORS_ORIGINS) })
await app.register(verifier, { issuer, audience, clientId, clientSecret, clients: listOf(CLIENTS) })

app.get('/orders', { onRequest: app.requireAuth }, async ({ auth }) =>
  orders.filter(order => order.owner === auth.sub)
)

const body = {
  type: 'object',
  required: ['item'],
  additionalProperties: false,
  properties: { item: { type: 'string', maxLength: 200 } }
}
app.post<{ Body: { item: string } }>(
  '/orders',
  { onRequest: app.requireAuth, schema: { body } },
  async ({ auth, body: { item } }, reply) => {
    const order = { id: randomUUID(), owner: auth.sub, item }
    orders.push(order)
    return await reply.code(201).send(order)
  }
)

app.get('/orders/all', { onRequest: app.requireRole('admin') }, async () => orders)

app.get('/health', async (_request, reply) => {
  const health = app.verifier.health()
  return await reply.code(health.ready ? 200 : 503).send(health)
})

for (const signal of ['SIGTERM', 'SIGINT']) process.once(signal, () => { void app.close() })
await app.listen({ host, port: Number(PORT) })
