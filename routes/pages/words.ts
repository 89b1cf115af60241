import type { PasswordReason } from '../../src/http/problem.ts'

/** What a page is for. */
export type PagePurpose = 'email_verification' | 'password_reset' | 'magic_link'

/** All that the pages say in one language. `when` is such as "in 30 seconds". */
export interface PageTexts {
  pages: Record<PagePurpose, { title: string, lead: string, button: string, done: string, told: string }>
  token: string
  tokenHint: string
  password: string
  passwordHint: (least: number) => string
  /** Labels the field for the password that the account has now. */
  currentPassword: string
  confirmWithPassword: string
  confirmWithNewPassword: string
  /** Says what would confirm an address, depending on what the link takes. */
  proof: { either: string, newPassword: string, password: string, session: string }
  /** `orNew`: a new password may be chosen instead. */
  wrongPassword: { orNew: string, only: string }
  reveal: string
  remember: string
  onward: string
  expired: string
  taken: string
  rejected: string
  reasons: Record<PasswordReason, (least: number) => string>
  tooMany: (when: string) => string
  busy: string
  foreign: string
  malformed: string
  fault: (id: string) => string
  unreachable: string
}
