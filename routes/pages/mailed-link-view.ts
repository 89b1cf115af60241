import { html, type Html } from '../../src/http/html.ts'
import type { Language } from '../../src/http/language.ts'
import { buttonLink, head } from './components.ts'
import { renderDocument } from './layout.ts'
import { formsOf } from './mailed-link-forms.ts'
import type { MailedLinkView, PageOutcome } from './mailed-link-outcome.ts'
import de from './texts/mailed-links-de.ts'
import en from './texts/mailed-links-en.ts'
import type { MailedLinkTexts, PagePurpose } from './texts/mailed-links.ts'

export const texts: Record<Language, MailedLinkTexts> = { en, de }

export const paths: Record<PagePurpose, string> = {
  email_verification: '/email-verification',
  password_reset: '/password-reset',
  magic_link: '/magic-link'
}

/**
 * Returns the HTML document of a page. It has a form, unless the form succeeded or can no longer succeed.
 */
export function renderMailedLink (view: MailedLinkView): string {
  const { purpose, language, outcome, basePath, homeUrl } = view
  const pageTexts = texts[language]
  const { title, doneTitle } = pageTexts.pages[purpose]
  const isDone = outcome.kind === 'done'
  const heading = isDone ? doneTitle : title
  const step = !isDone && !outcome.isFinal
    ? formsOf(view, pageTexts, basePath + paths[purpose])
    : homeUrl !== undefined && buttonLink(homeUrl, pageTexts.continueLink)
  return renderDocument(view, {
    language,
    title: heading,
    isFailure: outcome.kind === 'failed',
    path: paths[purpose],
    main: html`${head(heading)}${outcomeHtml(outcome)}${step}`
  })
}

function outcomeHtml ({ kind, text, reasons = [] }: PageOutcome): Html {
  const list = reasons.length > 0 && html`<ul>${reasons.map(reason => html`<li>${reason}</li>`)}</ul>`
  if (kind === 'failed') {
    return html`<div class="note bad" id="failure" role="alert" tabindex="-1"><span>${text}</span>${
      list}</div>
`
  }
  return html`<p class="quiet">${text}</p>
`
}
