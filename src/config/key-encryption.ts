import { ConfigError, dataFolder, type Config } from './config.ts'
import { developmentKey, UnsealError, type KeyEncryptionKeys } from '../crypto/sealing.ts'

/** The key-encryption keys of the configuration, or the one that development keeps for itself. */
export const keyEncryptionKeys = ({ keyEncryptionKeys: [first, ...others] = [] }: Pick<Config, 'keyEncryptionKeys'>): KeyEncryptionKeys =>
  first ? [first, ...others] : developmentKey(`${dataFolder}/key-encryption-key`)

/** A key-encryption key that does not open what is in the database, as the fault of the configuration that it is; any other error as it is. */
export const blamed = (error: unknown): unknown =>
  error instanceof UnsealError ? new ConfigError([`KEY_ENCRYPTION_KEY does not open the keys in the database: ${error.message}`]) : error
