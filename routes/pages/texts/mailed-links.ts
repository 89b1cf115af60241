import type { LinkKind } from '../../../src/accounts/link-requests.ts'
import type { OneTimeTokenPurpose } from '../../../src/one-time-tokens/one-time-tokens.ts'

/** What a page says about a link. The address stands between `before` and `after`. */
export interface PurposeTexts { title: string, before: string, after: string, button: string }

/** The texts of the page for one kind of links. `lives` is a time such as "10 minutes". */
export interface KindTexts {
  /** Before the link is known. */
  title: string
  doneTitle: string
  doneText: string
  /** Why a link of this kind may not work any more. */
  invalidText: (lives: string) => string
}

/** The texts of the pages of mailed links in one language. `minLength` is in characters. */
export interface MailedLinkTexts {
  purposes: Record<OneTimeTokenPurpose, PurposeTexts>
  kinds: Record<LinkKind, KindTexts>
  link: string
  linkHint: string
  open: string
  newPassword: string
  newPasswordHint: (minLength: number) => string
  signsOut: string
  /** Before a sign-in with a link that removes the password. */
  removesPassword: string
  /** The title of the page that sets the first password. */
  firstPassword: string
  currentPassword: string
  confirmWithPassword: string
  confirmWithNewPassword: string
  /**
   * What confirms an address: the current or a new password, a new password, the current one, or a session.
   */
  proof: { anyPassword: string, newPassword: string, password: string, session: string }
  /** `orNewPassword`: the user may choose a new password instead. */
  wrongPassword: { orNewPassword: string, passwordOnly: string }
  staySignedIn: string
  continueLink: string
  signInLink: string
  invalidTitle: string
  email: string
  newLink: string
  confirmedTitle: string
  /** What follows the address. */
  confirmedText: string
  addressTaken: string
  crossSite: string
  malformed: string
}
