import type { FastifyRequest } from 'fastify'
import { parseAddress } from '../../src/http/client-network.ts'
import { namesHtml } from '../../src/http/text-page.ts'
import { notFound } from '../../src/http/problems.ts'
import type { Typed } from '../typed.ts'
import type { PageContext } from './context.ts'
import { languageFor, rememberLanguage } from './language.ts'
import { icon, pageHeaders } from './layout.ts'
import { renderMailPage, renderStart } from './start-view.ts'

export interface StartOptions {
  context: PageContext
  serviceName: string
  /** Whether the page `/docs` exists. */
  hasDocs: boolean
  /** What stands before a command of this program, so that its links lead to this service. */
  commandPrefix: string
  isProduction: boolean
}

const iconMaxAgeSeconds = 86_400
// A mail has inline styles. The sandbox keeps its page from the origin of the service.
const mailPolicy = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; base-uri 'none'; " +
  "form-action 'none'; frame-ancestors 'none'; sandbox allow-top-navigation-by-user-activation allow-popups"

/**
 * What is at the root of the service. Health checks of balancers, which know no other path, ask for it, and
 * people who open the host.
 */
const startPage: Typed<StartOptions> = async (app, options) => {
  const { context, serviceName, hasDocs, commandPrefix, isProduction } = options
  const { issuer, basePath, homeUrl } = context
  const config = { limit: 'none', isProbe: true } as const
  const description = {
    name: serviceName,
    metadata: `${issuer}/.well-known/oauth-authorization-server`,
    ...hasDocs && { documentation: `${issuer}/docs` }
  }

  app.route({
    method: ['GET', 'OPTIONS'],
    url: '/',
    schema: { hide: true },
    config,
    handler: async (request, reply) => {
      reply.header('vary', 'origin, accept')
      if (!namesHtml(request.headers.accept)) return description
      if (isProduction) return reply.redirect(homeUrl ?? `${basePath}/sign-in`, 303)
      const language = languageFor(request, issuer)
      rememberLanguage(request, reply, issuer)
      const mails = isOwnMachine(request) ? app.mailer.shown?.list() : undefined
      const page = renderStart(context, { language, hasDocs, commandPrefix, mails })
      return reply.headers({ ...pageHeaders(language), vary: 'origin, accept, accept-language, cookie' })
        .send(page)
    }
  })

  app.route({
    method: ['GET', 'OPTIONS'],
    url: '/favicon.ico',
    schema: { hide: true },
    config,
    handler: async (_request, reply) => reply
      .headers({ 'content-type': 'image/svg+xml', 'cache-control': `public, max-age=${iconMaxAgeSeconds}` })
      .send(icon)
  })

  const { shown } = app.mailer
  if (shown === undefined) return
  const findMail = (request: FastifyRequest, id: string) => {
    const mail = isOwnMachine(request) && /^\d{1,9}$/.test(id) ? shown.find(Number(id)) : undefined
    if (!mail) throw notFound()
    return mail
  }
  app.get<{ Params: { id: string } }>('/dev/mails/:id', { schema: { hide: true } },
    async (request, reply) => {
      const language = languageFor(request, issuer)
      const mail = findMail(request, request.params.id)
      return reply.headers(pageHeaders(language)).send(renderMailPage(context, { language, mail }))
    })
  app.get<{ Params: { id: string } }>('/dev/mails/:id/html', { schema: { hide: true } },
    async (request, reply) => {
      const { html } = findMail(request, request.params.id)
      return reply
        .headers({ 'content-type': 'text/html; charset=utf-8', 'content-security-policy': mailPolicy })
        .send(html)
    })
}

const localHost = /^(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?$/

const forwardingHeader = /^(?:forwarded|via|x-forwarded-.*|x-real-ip)$/

/**
 * Whether a browser on this machine opened the address itself: the mails have links that sign in. The host
 * keeps out names that another site points to this machine (DNS rebinding), and a script of another origin
 * sends an `Origin` header. A tunnel from another machine says that it forwards.
 */
function isOwnMachine ({ ip, socket, headers }: FastifyRequest): boolean {
  const isLoopback = (peer: string | undefined) => parseAddress(peer)?.range() === 'loopback'
  const isForwarded = Object.keys(headers).some(name => forwardingHeader.test(name))
  return isLoopback(ip) && isLoopback(socket.remoteAddress) && localHost.test(headers.host ?? '') &&
    headers.origin === undefined && !isForwarded && headers['sec-fetch-site'] !== 'cross-site'
}

export default startPage
