import type { FastifyReply, FastifyRequest } from 'fastify'
import { cookieName } from '../../src/http/cookie-name.ts'
import { cookieValues } from '../../src/http/cookie-header.ts'
import { languageOf, languages, type Language } from '../../src/http/language.ts'

const maxAgeSeconds = 365 * 86_400

/**
 * Returns the language of a page: the one that its address names, or that was chosen before, or that the
 * browser asks for.
 */
export function languageFor ({ headers, query }: FastifyRequest, issuer: string): Language {
  const chosen = [namedIn(query), ...cookieValues(headers.cookie, cookieName(issuer, 'lang'))]
  return languages.find(language => language === chosen.find(isLanguage)) ??
    languageOf(headers['accept-language']) ?? languages[0]
}

/** Remembers the language that the address of a page names. */
export function rememberLanguage (request: FastifyRequest, reply: FastifyReply, issuer: string): void {
  const named = namedIn(request.query)
  if (!isLanguage(named)) return
  reply.setCookie(cookieName(issuer, 'lang'), named, {
    path: '/', httpOnly: true, sameSite: 'lax', secure: issuer.startsWith('https:'), maxAge: maxAgeSeconds
  })
}

const namedIn = (query: unknown): unknown => Object(query).lang
const isLanguage = (name: unknown): name is Language => languages.some(language => language === name)
