import type { Pepper } from '../crypto/secret-keys.ts'
import { databaseUnavailable } from '../http/problem.ts'

export interface Peppers {
  /** That of new hashes; undefined where they have none. Throws `database_unavailable` where it is not known yet. */
  current: () => Pepper | undefined
  /** The pepper of this id, asked for again where it is not known. Throws `database_unavailable` where nobody can tell. */
  find: (kid: string) => Promise<Pepper | undefined>
}

// The parameter that the PHC string format has for it. The algorithm gets the secret itself, and does not see its name.
const parameter = /(?<=^\$argon2[^$]*\$[^$]*(?:\$[^$]*)?),keyid=([^,$]+)/

/** The id of the pepper that a PHC string names. */
export const keyid = (hash: string): string | undefined => parameter.exec(hash)?.[1]

export const withKeyid = (hash: string, kid: string | undefined) => kid === undefined ? hash : hash.replace(/,p=\d+/, lanes => `${lanes},keyid=${kid}`)
export const withoutKeyid = (hash: string) => hash.replace(parameter, '')

/**
 * The pepper of a hash, undefined where it has none. Throws `database_unavailable` where it is lost: that says
 * nothing about the password.
 */
export async function pepperOf (hash: string, { find }: Peppers): Promise<Pepper | undefined> {
  const kid = keyid(hash)
  if (kid === undefined) return undefined
  const pepper = await find(kid)
  if (!pepper) throw databaseUnavailable(new Error(`the pepper ${kid} of a password is not in the database`))
  return pepper
}
