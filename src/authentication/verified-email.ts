import type { SignInRequirement } from './completion.ts'
import { emailNotVerified } from './problems.ts'

/** Requires a verified email address (REQUIRE_EMAIL_VERIFICATION). The problem is `email_not_verified`. */
export const verifiedEmail: SignInRequirement = {
  findMissing: async (_tx, { isEmailVerified }) => isEmailVerified ? undefined : emailNotVerified()
}
