import type { FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import findMyWay, { type HTTPMethod } from 'find-my-way'
import { methodNotAllowed, routeNotFound } from '../src/http/problems.ts'

/** Answers 404 for an unknown path, and 405 for a method that a path does not have. */
export default fp(async function notFoundOrNotAllowed (app) {
  // A router of our own, because Fastify's finds only the pair of a method and a path.
  const methods = new Set<HTTPMethod>()
  const router = findMyWay({ ignoreTrailingSlash: false })
  app.addHook('onRoute', ({ method, url }) => {
    for (const name of [method].flat() as HTTPMethod[]) {
      if (name === 'OPTIONS' || router.hasRoute(name, url)) continue
      methods.add(name)
      router.on(name, url, () => {})
    }
  })

  async function refuse (request: FastifyRequest): Promise<never> {
    const path = request.raw.url?.split('?')[0] ?? ''
    // `OPTIONS *` is about the server as a whole (RFC 9110 section 9.3.7). The router would take it for `/`.
    const found = path === '*' ? [] : order([...methods].filter(method => router.find(method, path)))
    // Fastify adds a HEAD route for each GET, and may announce the HEAD route alone for a second spelling.
    const allowed = found.includes('HEAD') && !found.includes('GET') ? ['GET', ...found] : found
    // A route that has the method can still find nothing.
    if (allowed.length === 0 || allowed.includes(request.method)) throw routeNotFound()
    throw methodNotAllowed(allowed)
  }

  // Before the body is parsed. The request is counted like any other.
  app.addHook('onRequest', async request => { if (request.is404) await refuse(request) })
  app.setNotFoundHandler(refuse)
}, { name: 'not-found', dependencies: ['rate-limit', 'problems'] })

const usualOrder = ['GET', 'HEAD', 'POST', 'PATCH', 'PUT', 'DELETE']

/** Sorts methods: the usual ones first. */
const order = (methods: HTTPMethod[]): HTTPMethod[] => [
  ...usualOrder.flatMap(usual => methods.filter(method => method === usual)),
  ...methods.filter(method => !usualOrder.includes(method))
]
