import { developmentKey, UnsealError, type KeyEncryptionKeys } from '../crypto/sealing.ts'
import { ConfigError } from './config-error.ts'
import { dataFolder, type Config } from './config.ts'

/** The key-encryption keys of the configuration. In development one is made, and kept in the data folder. */
export function keyEncryptionKeys (
  { keyEncryptionKeys }: Pick<Config, 'keyEncryptionKeys'>
): KeyEncryptionKeys {
  const [first, ...others] = keyEncryptionKeys ?? []
  return first ? [first, ...others] : developmentKey(`${dataFolder}/key-encryption-key`)
}

/** Turns an error about keys that cannot be unsealed into a ConfigError. Any other error stays as it is. */
export const explainUnsealError = (error: unknown): unknown => error instanceof UnsealError
  ? new ConfigError([`KEY_ENCRYPTION_KEY does not decrypt the keys in the database: ${error.message}`])
  : error
