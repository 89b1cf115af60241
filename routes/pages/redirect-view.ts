import { html } from '../../src/http/html.ts'
import type { Language } from '../../src/http/language.ts'
import { buttonLink, head } from './components.ts'
import type { PageContext } from './context.ts'
import { renderDocument } from './layout.ts'
import { decisionTexts } from './texts/decisions.ts'

export interface RedirectPage {
  language: Language
  /** Where the browser goes on to. */
  url: string
  /** The name of the client; undefined if it is the operator's own application. */
  name: string | undefined
}

/**
 * Renders the page that moves on to another origin by itself. Browsers block a redirect to another origin
 * that answers a form, because of `form-action 'self'`; this page is an answer that they accept.
 */
export function renderRedirectPage (context: PageContext, { language, url, name }: RedirectPage): string {
  const { continueTo, leavingTitle, leavingText } = decisionTexts[language]
  const title = name === undefined ? leavingTitle : continueTo(name)
  return renderDocument(context, {
    language,
    title,
    path: '/sign-in',
    refreshUrl: url,
    main: html`${head(title, leavingText)}${buttonLink(url, title)}`
  })
}
