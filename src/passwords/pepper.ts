import type { Pepper } from '../crypto/secret-keys.ts'
import { databaseUnavailable } from '../http/problems.ts'

export interface Peppers {
  /**
   * Returns the pepper of new hashes; undefined if they have none. Throws `database_unavailable` if it has
   * not been loaded yet.
   */
  current: () => Pepper | undefined
  /**
   * Returns the pepper with this id, and asks the database again if the id is unknown. Throws
   * `database_unavailable` if the database cannot be reached.
   */
  find: (kid: string) => Promise<Pepper | undefined>
}

// The PHC string format has this parameter. argon2 must not see it, because it expects the secret itself.
const parameter = /(?<=^\$argon2[^$]*\$[^$]*(?:\$[^$]*)?),keyid=([^,$]+)/

/** Returns the pepper's id that a PHC string names; undefined if it names none. */
export const pepperIdOf = (hash: string): string | undefined => parameter.exec(hash)?.[1]

/** Names the pepper of an Argon2 hash in its PHC string. */
export const withKeyid = (hash: string, kid: string | undefined) =>
  kid === undefined ? hash : hash.replace(/,p=\d+/, lanes => `${lanes},keyid=${kid}`)
/** Returns the PHC string as argon2 expects it. */
export const withoutKeyid = (hash: string) => hash.replace(parameter, '')

/**
 * Returns the pepper of a hash; undefined if it has none. Throws `database_unavailable` if the pepper is
 * lost, because then the password cannot be verified.
 */
export async function findPepper (hash: string, { find }: Peppers): Promise<Pepper | undefined> {
  const kid = pepperIdOf(hash)
  if (kid === undefined) return undefined
  const pepper = await find(kid)
  if (!pepper) {
    throw databaseUnavailable(new Error(`the pepper ${kid} of a password hash is not in the database`))
  }
  return pepper
}
