import type { Queryable } from '../database/database.ts'
import * as oneTimeTokens from '../one-time-tokens/one-time-tokens.ts'
import { chooseProof, effects, methodsFor, type Evidence } from './address-proofs.ts'
import { findLink } from './confirmation-link.ts'
import type { LinkKind } from './link-requests.ts'
import type { ConfirmationMethod } from './problems.ts'

/** What a mailed link is for, so that a page can say it before the link is used. */
export interface LinkPreview {
  purpose: oneTimeTokens.OneTimeTokenPurpose
  /** The address of the account, or the one that the link changes it to. */
  address: string
  /** What confirms the address in addition to the link. Empty if the link is enough in this browser. */
  methods: ConfirmationMethod[]
  /** Whether a sign-in with the link removes the password, because the address is not verified. */
  removesPassword?: boolean
  /** Whether the link sets the first password of the account. */
  isFirstPassword?: boolean
}

/** A link to look at, on the page for one kind of links. */
export interface LinkInspection {
  kind: LinkKind
  token: string
  /** What the browser has in addition to the link. */
  evidence: Pick<Evidence, 'registrationId' | 'sessions'>
  /** For how many seconds the registration cookie is a proof. */
  cookieSeconds: number
}

/** Finds out what a link is for. Changes nothing. Throws `link_expired`. */
export async function previewLink (
  db: Queryable, { kind, token, evidence, cookieSeconds }: LinkInspection
): Promise<LinkPreview> {
  if (kind !== 'email_verification') {
    const account = await oneTimeTokens.find(db, token, [kind])
    const hasPassword = account.password_hash !== null
    return {
      purpose: account.purpose,
      address: account.email,
      methods: [],
      removesPassword: kind === 'magic_link' && hasPassword && !account.email_verified,
      isFirstPassword: kind === 'password_reset' && !hasPassword
    }
  }
  const link = await findLink(db, token, cookieSeconds)
  const isEnough = effects[link.kind][chooseProof(link, evidence)] !== 'ask'
  return { purpose: link.kind, address: link.address, methods: isEnough ? [] : methodsFor(link) }
}
