import type { ConfirmationMethod } from '../../src/accounts/problems.ts'
import type { Language } from '../../src/http/language.ts'
import type { PagePurpose } from './page-texts.ts'

/** The facts about the service that the pages show. */
export interface PageContext {
  serviceName: string
  /** The path of the issuer, under which the pages are. */
  basePath: string
  /** The URL that a finished page links to. */
  homeUrl: string | undefined
  /** The shortest password, in code points. */
  minLength: number
}

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

/** Everything that a page is rendered from. */
export interface PageView extends PageContext {
  purpose: PagePurpose
  language: Language
  outcome: PageOutcome
}
