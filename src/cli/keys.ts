import { blamed, keyEncryptionKeys } from '../config/key-encryption.ts'
import { Problem } from '../http/problem.ts'
import { command } from './command.ts'
import { withDatabase } from './database.ts'
import { table, time } from './table.ts'

export const list = command({
  usage: 'latchkey keys list [--json]',
  meaning: 'List the keys and peppers, and where the keys are on their timelines.',
  options: {},
  plan: () => async config => {
    const { listKeys } = await import('../tokens/key-records.ts')
    const items = await withDatabase(config, async db => await listKeys(db))
    const rows = items.map(key => [key.kid, key.purpose, key.alg, key.state, ...[key.published_at, key.signs_from, key.retires_at, key.gone_at].map(time)])
    return { text: table(['KID', 'PURPOSE', 'ALG', 'STATE', 'PUBLISHED', 'SIGNS FROM', 'RETIRES', 'GONE'], rows), data: { items } }
  }
})

export const rotate = command({
  usage: 'latchkey keys rotate [--now] [--drop KID] [--json]',
  meaning: 'Make a new key of access tokens, which signs after two times JWKS_MAX_AGE.',
  options: {
    now: { type: 'boolean', meaning: 'sign with it at once: verifiers must read the JWKS again for it' },
    drop: { type: 'string', value: 'KID', meaning: 'accept nothing more that this key signed, and sign with a new one of its kind at once' }
  },
  plan: ({ now = false, drop }) => async config => {
    const [{ rotateKey }, { sealedKeys }, { sealedPeppers }, { sealedMails }, { sealedWebhookSecrets }] = await Promise.all([
      import('../tokens/key-rotation.ts'), import('../tokens/keyring.ts'), import('../tokens/peppers.ts'),
      import('../mail/outbox.ts'), import('../webhooks/signature.ts')
    ])
    const { signing, lifetimes, passwords } = config
    const options = {
      keyEncryptionKeys: keyEncryptionKeys(config),
      sealedColumns: [sealedKeys, sealedPeppers, sealedWebhookSecrets, sealedMails],
      ...signing,
      tokenLifetimes: { access_token: lifetimes.accessToken, refresh_token: lifetimes.refreshToken },
      pepper: passwords.pepper
    }
    const key = await withDatabase(config, async db => await rotateKey(db, options, { immediately: now, drop }, {})).catch((error: unknown) => {
      throw error instanceof Problem && error.code === 'not_found' ? new Error(`there is no key ${drop}, or it is gone already: see latchkey keys list`) : blamed(error)
    })
    return { text: `${drop === undefined ? '' : `Dropped ${drop}. `}Key ${key.kid} (${key.purpose}, ${key.alg}) signs from ${time(key.signs_from)}.`, data: key }
  }
})
