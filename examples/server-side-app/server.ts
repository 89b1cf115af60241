// An application with a server whose users sign in with Latchkey. Tokens never reach the browser.
import cookie, { type CookieSerializeOptions } from '@fastify/cookie'
import formbody from '@fastify/formbody'
import Fastify, { type FastifyRequest } from 'fastify'
import {
  appUrl, completeSignIn, isSessionEnd, readUser, signOutUrl, startSignIn, verifyLogoutToken,
  type LoginAttempt
} from './login.ts'
import * as sessions from './sessions.ts'

const { APP_NAME: name = 'Shop', HOST: host = '127.0.0.1', PORT = '8080' } = process.env

const app = Fastify({ logger: true })
await app.register(cookie)
await app.register(formbody)

// Browsers send the cookies of localhost to every port.
const isSecure = appUrl.protocol === 'https:'
const sessionCookie = isSecure ? '__Host-shop' : `shop_${PORT}`
// With `Strict`, the cookie would not come along when Latchkey sends the browser back.
const cookieOptions: CookieSerializeOptions = { path: '/', httpOnly: true, sameSite: 'lax', secure: isSecure }
// Each tab has a sign-in of its own.
const attemptCookie = (state: string) => `sign-in_${state}`

const sessionOf = (request: FastifyRequest) => sessions.find(request.cookies[sessionCookie])

const escape = (text: string) =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;')

const page = (content: string) => `<!doctype html>
<html lang="en"><meta charset="utf-8"><title>${escape(name)}</title>
<h1>${escape(name)}</h1>
${content}
</html>`

app.addHook('onSend', async (_request, reply) => {
  reply.headers({ 'cache-control': 'no-store' })
})

app.get('/', async (request, reply) => {
  reply.type('text/html')
  const session = sessionOf(request)
  if (!session) return page('<p id="status">Signed out</p><a href="/sign-in">Sign in</a>')
  try {
    const user = await readUser(session)
    return page(`<p id="status">Signed in as ${escape(user.email ?? user.sub)}</p>
<form method="post" action="/sign-out"><button>Sign out</button></form>`)
  } catch (error) {
    if (!isSessionEnd(error)) throw error
    sessions.end(session)
    return await reply.redirect('/', 303)
  }
})

app.get('/sign-in', async (_request, reply) => {
  const { url, attempt } = await startSignIn()
  reply.setCookie(attemptCookie(attempt.state), JSON.stringify(attempt), { ...cookieOptions, maxAge: 600 })
  return await reply.redirect(url.href, 303)
})

app.get<{ Querystring: { state?: string } }>('/callback', async (request, reply) => {
  const saved = request.cookies[attemptCookie(request.query.state ?? '')]
  if (saved === undefined) return await reply.redirect('/', 303)
  const attempt: LoginAttempt = JSON.parse(saved)
  reply.clearCookie(attemptCookie(attempt.state), cookieOptions)
  const session = sessions.create(await completeSignIn(new URL(request.url, appUrl), attempt))
  reply.setCookie(sessionCookie, session.id, cookieOptions)
  return await reply.redirect('/', 303)
})

app.post('/sign-out', async (request, reply) => {
  const session = sessionOf(request)
  if (!session) return await reply.redirect('/', 303)
  sessions.end(session)
  reply.clearCookie(sessionCookie, cookieOptions)
  return await reply.redirect(signOutUrl(session).href, 303)
})

// Latchkey calls this, not the browser: the session of a user has ended.
app.post<{ Body: { logout_token?: string } }>('/backchannel-logout', async (request, reply) => {
  try {
    sessions.endNamed(await verifyLogoutToken(String(request.body.logout_token)))
  } catch (error) {
    request.log.warn(error, 'logout token refused')
    return await reply.code(400).send({ error: 'invalid_request' })
  }
  return {}
})

app.setErrorHandler((error, request, reply) => {
  request.log.error(error)
  const text = request.url.startsWith('/callback')
    ? 'The sign-in did not succeed.'
    : 'The login service cannot be reached. Try again in a moment.'
  return reply.code(503).type('text/html').send(page(`<p id="status">${text}</p><a href="/">Go on</a>`))
})

for (const signal of ['SIGTERM', 'SIGINT']) process.once(signal, () => { void app.close() })
await app.listen({ host, port: Number(PORT) })
