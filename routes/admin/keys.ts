import { Type } from '@sinclair/typebox'
import { listKeys } from '../../src/tokens/key-records.ts'
import { rotateKey } from '../../src/tokens/key-rotation.ts'
import { page } from '../schemas.ts'
import { allowMissingBody, originOf, ref, strict, type Typed } from '../typed.ts'
import { Key } from './schemas.ts'

const kid = Type.String({
  pattern: '^[A-Za-z0-9_-]{1,64}$',
  description: 'The id of a compromised key. Tokens that it signed are rejected from now on.',
  examples: ['mB5hG0xWd6wqCqXvYp1oYqkq9o5v7sE8Qm2c4h0nUeA']
})

/** The keys of access tokens, refresh tokens and ID tokens. */
const keys: Typed = async (app) => {
  const shared = { tags: ['Administration'], security: [{ bearer: [] }] }
  const problems = ['invalid_token', 'forbidden', 'database_unavailable'] as const

  app.get('', {
    schema: {
      ...shared,
      operationId: 'listKeys',
      summary: 'List the keys',
      description: 'Lists all keys, newest first. A key that is no longer accepted is listed for one more' +
        ' day. The list always fits on one page.',
      response: { 200: page(Key) }
    },
    config: { problems }
  }, async () => ({ items: await listKeys(app.db), next_cursor: null }))

  app.post('/rotate', {
    schema: {
      ...shared,
      operationId: 'rotateKey',
      summary: 'Rotate the signing key',
      description: 'Creates and publishes a new signing key for access tokens. It starts to sign after' +
        ' twice the cache time of the JWKS. With `immediately`, it signs at once, and verifiers must read' +
        ' the JWKS again to accept it. `drop` names a compromised key: its tokens are rejected from now on,' +
        ' and a new key of the same purpose replaces it at once. If you drop the key of refresh tokens, all' +
        ' users must sign in again. The key of ID tokens rotates automatically; only `drop` replaces it' +
        ' earlier.',
      body: strict({
        immediately: Type.Optional(Type.Boolean({
          description: 'Whether the new key signs at once.', default: false
        })),
        drop: Type.Optional(kid)
      }, { examples: [{}, { immediately: true }, { drop: kid['examples'][0] }] }),
      response: { 201: ref(Key) }
    },
    preValidation: allowMissingBody,
    config: { isBodyOptional: true, problems: [...problems, 'not_found'] }
  }, async (request, reply) => {
    const { immediately = false, drop } = request.body
    const rotation = { isImmediate: immediately, drop }
    const key = await rotateKey(app.db, app.keyring.options, rotation, originOf(request))
    return reply.code(201).send(key)
  })
}

export default keys
