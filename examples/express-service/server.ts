// A service with Express whose users sign in with Latchkey. It verifies access tokens locally and follows the
// revocation feed.
import { AuthError, createVerifier, requireRole, type Auth, type Requirement } from '@latchkey/verifier'
import express, { type ErrorRequestHandler, type RequestHandler } from 'express'

const {
  ISSUER_URL: issuer = 'http://localhost:3000',
  DISCOVERY_URL: discoveryUrl,
  AUDIENCE: audience = issuer,
  CLIENT_ID: clientId,
  CLIENT_SECRET: clientSecret,
  HOST: host = '127.0.0.1',
  PORT = '8080'
} = process.env

const verifier = createVerifier({ issuer, audience, discoveryUrl, clientId, clientSecret })

interface Locals extends Record<string, unknown> { auth: Auth }
type Handler = RequestHandler<object, unknown, unknown, unknown, Locals>

/** Requires a valid access token, and sets `response.locals.auth`. Express 5 handles a rejected promise. */
const authenticate = (requirement: Requirement = () => {}): Handler => async (request, response, next) => {
  const auth = await verifier.authenticate(request.headers.authorization)
  requirement(auth)
  response.locals.auth = auth
  next()
}

const toResponse: ErrorRequestHandler = (error, _request, response, next) => {
  if (!(error instanceof AuthError)) return next(error)
  response.status(error.statusCode).set(error.headers).json({ code: error.code, message: error.message })
}

const app = express()
app.get('/orders', authenticate(), (_request, response) => {
  response.json({ owner: response.locals.auth.sub, orders: [] })
})
app.get('/orders/all', authenticate(requireRole('admin')), (_request, response) => {
  response.json([])
})
app.get('/health', (_request, response) => {
  const health = verifier.health()
  response.status(health.ready ? 200 : 503).json(health)
})
app.use(toResponse)

await verifier.ready()
const server = app.listen(Number(PORT), host, () => console.log(`listening on http://${host}:${PORT}`))
for (const signal of ['SIGTERM', 'SIGINT']) {
  process.once(signal, () => {
    verifier.close()
    server.close()
  })
}
