import { violates } from '../database/sql-errors.ts'
import { emailTaken, externalIdTaken, usernameTaken } from './problems.ts'

const usernameConstraints = ['users_username_key', 'users_username_skeleton_key']

/**
 * Translates the violation of a unique constraint to `email_taken`, `username_taken` or `external_id_taken`.
 */
export async function translateViolations<Result> (work: Promise<Result>): Promise<Result> {
  try {
    return await work
  } catch (error) {
    if (violates(error, 'users_email_key')) throw emailTaken()
    if (usernameConstraints.some(constraint => violates(error, constraint))) throw usernameTaken()
    if (violates(error, 'users_external_id_key')) throw externalIdTaken()
    throw error
  }
}
