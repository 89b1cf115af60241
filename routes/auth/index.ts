import type { Typed } from '../typed.ts'
import login from './login.ts'
import logout from './logout.ts'
import refresh from './refresh.ts'
import register from './register.ts'
import type { SignInOptions } from './session.ts'

/** Signing up, in and out, and staying signed in. */
const auth: Typed<SignInOptions> = async (app, { lifetimes }) => {
  await app.register(register, { lifetimes })
  await app.register(login, { lifetimes })
  await app.register(refresh, { lifetimes })
  await app.register(logout)
}

export default auth
