import type { ConfirmationMethod } from '../../src/accounts/problems.ts'
import type { Language } from '../../src/http/language.ts'
import type { PageContext } from './context.ts'
import type { PagePurpose } from './texts/mailed-links.ts'

/** The state of a page's form. */
export interface PageOutcome {
  kind: 'asked' | 'done' | 'failed'
  text: string
  /** Why the new password was rejected. */
  reasons?: string[]
  /** The ways to confirm an address, if the link alone is not enough. */
  methods?: ConfirmationMethod[] | undefined
  /** Whether the submitted current password is wrong. */
  isPasswordWrong?: boolean
  /** Whether submitting the form again cannot succeed. */
  isFinal?: boolean
  /** The link's token, if it was submitted. */
  token?: string | undefined
}

/** Everything that a page of a mailed link is rendered from. */
export interface MailedLinkView extends PageContext {
  purpose: PagePurpose
  language: Language
  outcome: PageOutcome
}
