import type { FastifyRequest } from 'fastify'
import { html } from '../../src/http/html.ts'
import type { Language } from '../../src/http/language.ts'
import type { Problem } from '../../src/http/problem.ts'
import { buttonLink, head } from './components.ts'
import type { PageContext } from './context.ts'
import { describeProblem } from './failure.ts'
import { languageCookie, languageFor } from './language.ts'
import { pageHeaders, renderDocument } from './layout.ts'
import { failureTexts } from './texts/failures.ts'

/** A failure that a person meets on a page without a form. */
export interface ErrorView {
  language: Language
  problem: Problem
  requestId: string
  /** The path that the link to the other language leads to. */
  path?: string
  /** Where the person can go on. */
  link?: { url: string, label: string } | undefined
}

/** Renders the page of a failure: what happened, what to do, and the id of the request. */
export function renderError (context: PageContext, view: ErrorView): string {
  const { language, problem, requestId, path = '/', link } = view
  const texts = failureTexts[language]
  const { title, text } = describeProblem(problem, language)
  return renderDocument(context, {
    language,
    title,
    isFailure: true,
    path,
    main: html`${head(title, text)}${link && buttonLink(link.url, link.label)}
<p class="small quiet">${texts.requestId}: <code>${requestId}</code></p>`
  })
}

/** Returns the page of a problem, for a person who opened an address of the service. */
export function problemPage (context: PageContext, problem: Problem, request: FastifyRequest) {
  const language = languageFor(request, context.issuer)
  const link = { url: `${context.basePath}/`, label: failureTexts[language].home }
  const view = { language, problem, requestId: request.id, path: translatedPath(request), link }
  return {
    headers: { ...pageHeaders(language), ...languageCookie(request, context.issuer) },
    page: renderError(context, view)
  }
}

// Not `//example.com`, which leads to another site.
const pathSyntax = /^\/[^/\\]/

/**
 * Returns the path at which a person who opened a page gets it in the other language: that of the page, or of
 * the start page if there is none.
 */
export function translatedPath ({ method, url, is404 }: FastifyRequest): string {
  if (method !== 'GET' || is404 || !pathSyntax.test(url)) return '/'
  const [path = '/', query = ''] = splitOnce(url)
  const parameters = new URLSearchParams(query)
  parameters.delete('lang')
  return parameters.size === 0 ? path : `${path}?${parameters.toString()}`
}

const splitOnce = (url: string): string[] => {
  const mark = url.indexOf('?')
  return mark < 0 ? [url] : [url.slice(0, mark), url.slice(mark + 1)]
}
