import type { Config } from '../config/config.ts'
import { explainUnsealError, keyEncryptionKeys } from '../config/key-encryption.ts'
import { Problem } from '../http/problem.ts'
import { defineCommand } from './command.ts'
import { withDatabase } from './database.ts'
import { formatTable, formatTime } from './table.ts'

const headings = ['KID', 'PURPOSE', 'ALG', 'STATE', 'PUBLISHED', 'SIGNS FROM', 'RETIRES', 'GONE']

export const list = defineCommand({
  usage: 'latchkey keys list [--json]',
  description: 'List the keys of access, refresh and ID tokens, and the pepper if there is one. Show when ' +
    'each starts and ends.',
  options: {},
  plan: () => async config => {
    const { listKeys } = await import('../tokens/key-records.ts')
    const items = await withDatabase(config, async db => await listKeys(db))
    const rows = items.map(({ kid, purpose, alg, state, ...times }) => [
      kid, purpose, alg, state,
      ...[times.published_at, times.signs_from, times.retires_at, times.gone_at].map(formatTime)
    ])
    return { text: formatTable(headings, rows), data: { items } }
  }
})

const rotationOptions = (config: Config) => ({
  keyEncryptionKeys: keyEncryptionKeys(config),
  ...config.signing,
  tokenLifetimes: {
    access_token: config.lifetimes.accessTokenSeconds,
    refresh_token: config.lifetimes.refreshTokenSeconds,
    id_token: config.lifetimes.accessTokenSeconds
  },
  hasPepper: config.passwords.hasPepper
})

export const rotate = defineCommand({
  usage: 'latchkey keys rotate [--now] [--drop KID] [--json]',
  description: 'Create a new signing key for access tokens. It signs after twice JWKS_MAX_AGE.',
  options: {
    now: { type: 'boolean', description: 'use it at once; verifiers must fetch the JWKS again' },
    drop: {
      type: 'string',
      value: 'KID',
      description: 'reject all tokens of this key, and replace it at once'
    }
  },
  plan: ({ now = false, drop }) => async config => {
    const [{ rotateKey }, { sealedColumns }] = await Promise.all([
      import('../tokens/key-rotation.ts'), import('../capabilities.ts')
    ])
    const options = { ...rotationOptions(config), sealedColumns }
    const key = await withDatabase(
      config, async db => await rotateKey(db, options, { isImmediate: now, drop }, {})
    ).catch((error: unknown) => { throw explain(error, drop) })
    const dropped = drop === undefined ? '' : `Dropped ${drop}. `
    const text = `${dropped}Key ${key.kid} (${key.purpose}, ${key.alg}) signs from ` +
      `${formatTime(key.signs_from)}.`
    return { text, data: key }
  }
})

const explain = (error: unknown, drop: string | undefined): unknown =>
  error instanceof Problem && error.code === 'not_found'
    ? new Error(`there is no key ${drop}, or it is already gone: see latchkey keys list`)
    : explainUnsealError(error)
