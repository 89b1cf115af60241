import type { FastifyReply, FastifyRequest } from 'fastify'
import { cookieName } from '../../src/http/cookie-name.ts'
import { cookieValues } from '../../src/http/cookie-header.ts'
import { languageOf, languageOfTags, languages, type Language } from '../../src/http/language.ts'

const maxAgeSeconds = 365 * 86_400

/**
 * Returns the language of a page: the one that its address names, or that was chosen before, or that the
 * client prefers (`ui_locales`), or that the browser asks for.
 */
export function languageFor ({ headers, query }: FastifyRequest, issuer: string): Language {
  const chosen = [namedIn(query), ...cookieValues(headers.cookie, cookieName(issuer, 'lang'))]
  return languages.find(language => language === chosen.find(isLanguage)) ??
    preferredBy(query) ?? languageOf(headers['accept-language']) ?? languages[0]
}

/** Remembers the language that the address of a page names. */
export function rememberLanguage (request: FastifyRequest, reply: FastifyReply, issuer: string): void {
  const named = namedIn(request.query)
  if (isLanguage(named)) reply.setCookie(cookieName(issuer, 'lang'), named, rememberedAttributes(issuer))
}

/** The header that does the same on the page of a failure. */
export function languageCookie (request: FastifyRequest, issuer: string): Record<string, string> {
  const named = namedIn(request.query)
  if (!isLanguage(named)) return {}
  const name = cookieName(issuer, 'lang')
  return { 'set-cookie': request.server.serializeCookie(name, named, rememberedAttributes(issuer)) }
}

/**
 * Uses the language that a client prefers (`ui_locales`, OpenID Connect Core section 3.1.2.1), until the
 * browser is closed. What the user has chosen stays.
 */
export function adoptLanguage (
  { headers, query }: FastifyRequest, reply: FastifyReply, issuer: string
): void {
  const name = cookieName(issuer, 'lang')
  const preferred = preferredBy(query)
  if (preferred === undefined || cookieValues(headers.cookie, name).some(isLanguage)) return
  reply.setCookie(name, preferred, attributes(issuer))
}

const attributes = (issuer: string) =>
  ({ path: '/', httpOnly: true, sameSite: 'lax' as const, secure: issuer.startsWith('https:') })
const rememberedAttributes = (issuer: string) => ({ ...attributes(issuer), maxAge: maxAgeSeconds })

function preferredBy (query: unknown): Language | undefined {
  const { ui_locales: tags } = Object(query)
  return typeof tags === 'string' ? languageOfTags(tags) : undefined
}

const namedIn = (query: unknown): unknown => Object(query).lang
const isLanguage = (name: unknown): name is Language => languages.some(language => language === name)
