import type { Typed } from '../typed.ts'
import login from './login.ts'
import logout from './logout.ts'
import refresh from './refresh.ts'
import register from './register.ts'
import type { SignInOptions } from './session.ts'
import verify from './verify.ts'

/** Signing up, in and out, and staying signed in. */
const auth: Typed<SignInOptions> = async (app, { lifetimes, sessionLimit }) => {
  await app.register(register, { lifetimes, sessionLimit })
  await app.register(login, { lifetimes, sessionLimit })
  await app.register(refresh, { lifetimes, sessionLimit })
  await app.register(logout)
  await app.register(verify)
}

export default auth
