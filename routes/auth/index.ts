import type { SignInOptions } from '../sign-in.ts'
import type { Typed } from '../typed.ts'
import emailVerification from './email-verification.ts'
import login from './login.ts'
import logout from './logout.ts'
import magicLink from './magic-link.ts'
import passwordReset from './password-reset.ts'
import refresh from './refresh.ts'
import register from './register.ts'
import verify, { type VerifyOptions } from './verify.ts'

type AuthOptions = { signIn: SignInOptions } & VerifyOptions

/** The routes to sign up, sign in, refresh, sign out, and use mailed links. */
const auth: Typed<AuthOptions> = async (app, { signIn: options, emailClaim }) => {
  await app.register(register, options)
  await app.register(login, options)
  await app.register(magicLink, options)
  await app.register(refresh, options)
  await app.register(logout, options)
  await app.register(emailVerification, options)
  await app.register(passwordReset, options)
  await app.register(verify, { emailClaim })
}

export default auth
