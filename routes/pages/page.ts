import { escapeHtml } from '../../src/http/html.ts'
import type { Language } from '../../src/http/language.ts'
import { assets } from './assets.ts'
import en from './english.ts'
import { formsOf } from './forms.ts'
import de from './german.ts'
import type { PagePurpose, PageTexts } from './page-texts.ts'
import type { PageOutcome, PageView } from './page-view.ts'

export const texts: Record<Language, PageTexts> = { en, de }

export const paths: Record<PagePurpose, string> = {
  email_verification: '/email-verification',
  password_reset: '/password-reset',
  magic_link: '/magic-link'
}

const contentSecurityPolicy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "connect-src 'self'",
  "form-action 'self'",
  "frame-ancestors 'none'",
  "base-uri 'none'"
].join('; ')

/** Returns the headers of a page. */
export const headers = (language: Language) => ({
  'content-type': 'text/html; charset=utf-8',
  'content-language': language,
  'content-security-policy': contentSecurityPolicy,
  'referrer-policy': 'no-referrer',
  'cache-control': 'no-store',
  vary: 'origin, accept-language'
})

/**
 * Returns the HTML document of a page. It has a form, unless the form succeeded or can no longer succeed.
 */
export function render (view: PageView): string {
  const { purpose, language, outcome, serviceName, basePath } = view
  const pageTexts = texts[language]
  const { title, doneTitle } = pageTexts.pages[purpose]
  const isDone = outcome.kind === 'done'
  const heading = isDone ? doneTitle : title
  const action = basePath + paths[purpose]
  const step = isDone || outcome.isFinal ? continueLink(view) : formsOf(view, pageTexts, action)
  return `<!doctype html>
<html lang="${language}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>${escapeHtml(`${heading} · ${serviceName}`)}</title>
<link rel="stylesheet" href="${basePath}${assets.style.url}">
<script src="${basePath}${assets.script.url}"></script>
</head>
<body>
<main>
<p class="service">${escapeHtml(serviceName)}</p>
<h1>${escapeHtml(heading)}</h1>
<div id="outcome" role="status" tabindex="-1">${outcomeHtml(outcome)}</div>
<div id="step">${step}</div>
</main>
</body>
</html>
`
}

function outcomeHtml ({ kind, text, reasons = [] }: PageOutcome): string {
  const items = reasons.map(reason => `<li>${escapeHtml(reason)}</li>`).join('')
  return `<div class="${kind}"><p>${escapeHtml(text)}</p>${items === '' ? '' : `<ul>${items}</ul>`}</div>`
}

/** A link to the home URL. The script follows it at once after a sign-in. */
function continueLink ({ purpose, language, outcome, homeUrl }: PageView): string {
  if (homeUrl === undefined) return ''
  const isFollowed = outcome.kind === 'done' && purpose === 'magic_link'
  const attributes = `class="button" href="${escapeHtml(homeUrl)}"${isFollowed ? ' data-onward' : ''}`
  return `<a ${attributes}>${escapeHtml(texts[language].continueLink)}</a>`
}
