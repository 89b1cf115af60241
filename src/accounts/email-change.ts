import * as audit from '../audit.ts'
import type { Database, Queryable } from '../db.ts'
import type { EmailAddress } from '../email-address.ts'
import * as links from '../links.ts'
import { admit } from '../mail/limits.ts'
import { languages, send } from '../mails.ts'
import { emailTaken, forbiddenCredentials, linkExpired } from '../problem.ts'
import type { Revocation } from '../revocations.ts'
import * as users from '../users.ts'
import { lockCredential, type Credential } from '../users/credential.ts'
import { forgetPending, isWanted } from '../users/pending.ts'
import type { Letters } from './letters.ts'
import { startOver, verified } from './mailbox.ts'
import { activate } from './registration.ts'

/**
 * Mails a link to a new address, with which it becomes that of the account. Where addresses must be proved,
 * whether it is taken is told to its owner alone, else it throws `email_taken`. Throws `invalid_credentials`
 * where the password that was proved is another one by now: a thief's request that is under way must not
 * outlive it. Nothing is written if too many mails of this kind to the new address were requested: the
 * password proves the account, not the address.
 */
export async function requestChange (db: Database, credential: Credential, to: EmailAddress, letters: Letters, secretly: boolean): Promise<void> {
  const { userId, passwordVersion } = credential
  const { address, canonical } = to
  const { post, lives: { emailVerification: lives }, language, limit } = letters
  const owner = await users.ownerOf(db, canonical)
  const other = owner?.id === userId ? undefined : owner
  if (other && !secretly) throw emailTaken()
  const token = links.mintToken()
  const known = languages.find(each => each === other?.language)
  const mail = other ? post({ kind: 'registration_taken', as: 'email_change', language: language ?? known, to: other.email }) : post({ kind: 'email_change', language, token, lives, to: address })
  const buckets = limit.bucketsOf('email_change', canonical, lives)
  const isAdmitted = await db.transaction(async tx => {
    const target = { email: address, canonical_email: canonical }
    if (!await lockCredential(tx, credential)) throw forbiddenCredentials()
    if (!await admit(tx, buckets)) return false
    if (!await links.make(tx, userId, 'email_change', token, lives, target, passwordVersion)) throw forbiddenCredentials()
    // The link has locked the user: no other change is under way.
    await links.assertUndoCapacity(tx, userId)
    // Who asked for it sees in the export what is still to be sent for them, and what was given up: in both cases the same.
    await send(tx, mail, userId, lives)
    return true
  })
  if (!isAdmitted) limit.onDrop('email_change')
}

/**
 * Does what a link was mailed for to prove an address: makes the account, marks its address as proved, changes it, or
 * changes it back. Gives what verifiers must know. Throws `link_expired`, and `email_taken` where the address has become
 * somebody else's.
 */
export async function confirm (db: Database, token: string, letters: Letters, origin: audit.Origin): Promise<Revocation[]> {
  const { purpose, userId } = await links.purposeOf(db, token)
  if (purpose === 'registration') return await activate(db, token, userId, letters, origin)
  return await db.transaction(async tx => {
    const account = await links.redeem(tx, token, ['email_verification', 'email_change', 'email_undo'])
    const by = { ...origin, actorId: account.id }
    if (purpose === 'email_verification') {
      const isContested = await contested(tx, account)
      await verified(tx, account, by)
      return isContested ? await startOver(tx, account.id, letters, 'email_verified', by) : []
    }
    const { target_email: address, target_canonical_email: canonical } = account
    if (address === null || canonical === null) throw linkExpired()
    return await (purpose === 'email_change' ? change : undo)(tx, account, { address, canonical }, letters, by)
  })
}

// Whose password it is nobody can tell, where somebody else has registered the address of an account since that never proved it.
const contested = async (tx: Queryable, { email_verified: isProved, canonical_email: canonical }: links.Found) => !isProved && await isWanted(tx, canonical)

async function change (tx: Queryable, account: links.Found, to: EmailAddress, letters: Letters, origin: audit.Origin): Promise<Revocation[]> {
  const { post, lives: { emailUndo: lives } } = letters
  const token = links.mintToken()
  // Whoever has a mailbox that was never proved to be the user's is not handed the account.
  const undo = account.email_verified ? { token, lives } : {}
  const isContested = to.canonical === account.canonical_email && await contested(tx, account)
  await move(tx, account.id, to, origin, {})
  if (account.email_verified) await links.make(tx, account.id, 'email_undo', token, lives, { email: account.email, canonical_email: account.canonical_email })
  // The way back must not be dropped. Nobody can send many: each takes an address that was proved anew.
  const isUncounted = account.email_verified
  const facts = { email: to.address }
  await send(tx, post({ kind: 'email_changed', ...undo, to: account.email, isUncounted, facts }), account.id)
  return isContested ? await startOver(tx, account.id, letters, 'email_verified', origin) : []
}

/** Back to an address that was proved: whoever changed it knew the password, and has neither that nor a session any more. */
async function undo (tx: Queryable, account: links.Found, to: EmailAddress, letters: Letters, origin: audit.Origin): Promise<Revocation[]> {
  await move(tx, account.id, to, origin, { undone: true })
  // The ways back to where it was changed to meanwhile.
  await tx.query("delete from links where user_id = $1 and purpose = 'email_undo' and created_at > $2", [account.id, account.created_at])
  return await startOver(tx, account.id, letters, 'email_change_undone', origin)
}

async function move (tx: Queryable, userId: string, to: EmailAddress, origin: audit.Origin, detail: Record<string, unknown>) {
  await users.changeEmail(tx, userId, to)
  await audit.record(tx, 'user.email_changed', { userId, detail }, origin)
  await links.endAll(tx, userId)
  // It is proved: the accounts that were to have it never will.
  await forgetPending(tx, to.canonical)
}
