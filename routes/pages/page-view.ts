import type { ConfirmationMethod } from '../../src/accounts/problems.ts'
import type { Language } from '../../src/http/language.ts'
import type { PagePurpose } from './page-texts.ts'

/** What the pages show of the service. */
export interface PageContext {
  serviceName: string
  /** Where a page links to when it is done. */
  homeUrl: string | undefined
  /** The shortest password, in code points. */
  minLength: number
}

/** The state of a page's form. */
export interface PageOutcome {
  kind: 'asked' | 'done' | 'failed'
  text: string
  /** Everything that is wrong with the new password. */
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

/** What a page is rendered from. */
export interface PageView extends PageContext {
  purpose: PagePurpose
  language: Language
  outcome: PageOutcome
}
