import type * as audit from '../audit/events.ts'
import { complete, type Completion, type SignInRequest } from '../authentication/completion.ts'
import type { Database } from '../database/database.ts'
import * as oneTimeTokens from '../one-time-tokens/one-time-tokens.ts'
import { revokeAll } from '../one-time-tokens/revocation.ts'
import { endAll, lockSessions } from '../sessions/ending.ts'
import { replacePassword } from '../users/credential.ts'
import { markEmailVerified } from './email-ownership.ts'

/**
 * Signs in the holder of a mailed link, once. The link proves the address. If the address was not verified
 * before, the password becomes invalid, and all sessions end (account pre-hijacking). Throws `link_expired`.
 */
export async function signInWithLink (
  db: Database, token: string, request: SignInRequest, origin: audit.Origin
): Promise<Completion> {
  return await db.transaction(async tx => {
    const account = await oneTimeTokens.consume(tx, token, ['magic_link'])
    const { id: userId } = account
    const userOrigin = { ...origin, actorId: userId }
    await markEmailVerified(tx, account, userOrigin)
    let passwordVersion = account.password_version
    if (!account.email_verified) {
      passwordVersion = await replacePassword(tx, userId, null)
      await lockSessions(tx, userId, request.replaced?.ids ?? [])
      await endAll(tx, { userId }, 'email_verified', userOrigin)
    }
    await revokeAll(tx, userId)
    const proof = { userId, passwordVersion, methods: ['otp'], isEmailVerified: true }
    return await complete(tx, proof, request, userOrigin)
  })
}
