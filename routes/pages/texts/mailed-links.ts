/** What a page is for. */
export type PagePurpose = 'email_verification' | 'password_reset' | 'magic_link'

/** The texts of one page: before its form is sent, and after it succeeded. */
export interface PurposeTexts {
  title: string
  introduction: string
  button: string
  doneTitle: string
  doneText: string
}

/**
 * All texts of the pages in one language. `minLength` is in characters. An example of `when`: "in 30
 * seconds".
 */
export interface MailedLinkTexts {
  pages: Record<PagePurpose, PurposeTexts>
  token: string
  tokenHint: string
  newPassword: string
  newPasswordHint: (minLength: number) => string
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
  linkExpired: string
  addressTaken: string
  crossSite: string
  malformed: string
  unexpectedError: (id: string) => string
}
