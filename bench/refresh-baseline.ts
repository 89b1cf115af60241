import { generateKeyPairSync } from 'node:crypto'
import { createSigner } from 'fast-jwt'
import Fastify from 'fastify'
import pg from 'pg'
import { answer } from './baseline.ts'

const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const sign = createSigner({
  algorithm: 'ES256',
  key: privateKey.export({ type: 'pkcs8', format: 'pem' }),
  kid: 'baseline'
})
const update = {
  name: 'baseline',
  text: 'update baseline set generation = generation + 1, last_used_at = now() where session_id = $1'
}

/**
 * Serves the least work of a refresh: a durable update of one row by its key, and one signed token. Returns
 * the port.
 */
answer<{ url: string }>(async ({ url }) => {
  const pool = new pg.Pool({ connectionString: url, max: 10 })
  const app = Fastify()
  app.post<{ Body: { session_id: string } }>('/refresh', async ({ body: { session_id: sid } }) => {
    const { rowCount } = await pool.query({ ...update, values: [sid] })
    if (rowCount !== 1) throw new Error('no such row')
    const iat = Math.floor(Date.now() / 1_000)
    // The same number of claims as in the service's tokens.
    const claims = {
      iss: 'http://localhost:3000',
      aud: 'http://localhost:3000',
      sub: sid,
      client_id: 'baseline',
      scope: 'account',
      iat,
      exp: iat + 900,
      jti: sid,
      sid,
      auth_time: iat,
      amr: ['pwd'],
      roles: ['user']
    }
    return { access_token: sign(claims), token_type: 'Bearer', expires_in: 900 }
  })
  return Number(new URL(await app.listen({ host: '127.0.0.1', port: 0 })).port)
})
