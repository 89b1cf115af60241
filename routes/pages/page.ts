import type { Language } from '../../src/http/language.ts'
import { escapeHtml } from '../../src/http/html.ts'
import type { ConfirmationMethod } from '../../src/http/problem.ts'
import { assets } from './assets.ts'
import en from './english.ts'
import de from './german.ts'
import type { PagePurpose, PageTexts } from './words.ts'

/** Of the service, what its pages tell. */
export interface PageContext {
  serviceName: string
  /** Where a page leads to when it is done. */
  homeUrl: string | undefined
  /** Code points of the shortest password. */
  minLength: number
}

/** What has become of a page's form. */
export interface PageOutcome {
  kind: 'asked' | 'done' | 'failed'
  text: string
  /** Each that is wrong with the password. */
  reasons?: string[]
  /** What would confirm an address, if the link alone does not. */
  methods?: ConfirmationMethod[] | undefined
  /** Whether the current password that was sent is wrong. */
  isPasswordWrong?: boolean
  /** Whether there is no use in sending the form again. */
  final?: boolean
  /** What the link carries, if it is known already. */
  token?: string | undefined
}

export const words: Record<Language, PageTexts> = { en, de }

/** Where a page stands, for each purpose. */
export const paths: Record<PagePurpose, string> = { email_verification: '/email-verification', password_reset: '/password-reset', magic_link: '/magic-link' }

const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

/** The headers of a page in a language. */
export const headers = (language: Language) => ({
  'content-type': 'text/html; charset=utf-8',
  'content-language': language,
  'content-security-policy': policy,
  'referrer-policy': 'no-referrer',
  'cache-control': 'no-store',
  vary: 'origin, accept-language'
})

/** The document for a purpose, with a form until that is of no use any more. */
export function render (purpose: PagePurpose, language: Language, { serviceName, homeUrl, minLength }: PageContext, outcome: PageOutcome): string {
  const said = words[language]
  const { title, done } = said.pages[purpose]
  const isDone = outcome.kind === 'done'
  const heading = isDone ? done : title
  return `<!doctype html>
<html lang="${language}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>${escapeHtml(`${heading} · ${serviceName}`)}</title>
<link rel="stylesheet" href="${assets.style.url}">
<script src="${assets.script.url}"></script>
</head>
<body>
<main>
<p class="service">${escapeHtml(serviceName)}</p>
<h1>${escapeHtml(heading)}</h1>
<div id="outcome" role="status" tabindex="-1">${told(outcome)}</div>
<div id="step">${isDone || outcome.final ? onward(said, homeUrl, isDone && purpose === 'magic_link') : form(purpose, said, minLength, outcome)}</div>
</main>
</body>
</html>
`
}

const told = ({ kind, text, reasons = [] }: PageOutcome) =>
  `<div class="${kind}"><p>${escapeHtml(text)}</p>${reasons.length > 0 ? `<ul>${reasons.map(reason => `<li>${escapeHtml(reason)}</li>`).join('')}</ul>` : ''}</div>`

const onward = (said: PageTexts, url: string | undefined, atOnce: boolean) =>
  url === undefined ? '' : `<a class="button" href="${escapeHtml(url)}"${atOnce ? ' data-onward' : ''}>${escapeHtml(said.onward)}</a>`

function form (purpose: PagePurpose, said: PageTexts, minLength: number, outcome: PageOutcome): string {
  const { token, reasons, methods } = outcome
  const { button } = said.pages[purpose]
  if (purpose === 'email_verification' && methods) return proofForms(said, minLength, outcome)
  const parts = [carriedToken(said, token)]
  if (purpose === 'password_reset') parts.push(passwordField(said, minLength, reasons !== undefined))
  if (purpose === 'magic_link') parts.push(`<label><input type="checkbox" name="remember" value="true"> ${escapeHtml(said.remember)}</label>`)
  return wrapped(purpose, said, [...parts, `<button>${escapeHtml(button)}</button>`])
}

/** A form for each way to confirm an address. */
function proofForms (said: PageTexts, minLength: number, { token, reasons, methods = [], isPasswordWrong = false }: PageOutcome): string {
  const carried = [carriedToken(said, token), `<input type="hidden" name="methods" value="${methods.join(' ')}">`]
  const forms = {
    session: [],
    password: [currentPasswordField(said, isPasswordWrong), `<button>${escapeHtml(said.confirmWithPassword)}</button>`],
    new_password: [
      passwordField(said, minLength, reasons !== undefined),
      `<button${methods.includes('password') ? ' class="second"' : ''}>${escapeHtml(said.confirmWithNewPassword)}</button>`
    ]
  }
  return methods
    .filter(method => forms[method].length > 0)
    .map(method => wrapped('email_verification', said, [...carried, ...forms[method]]))
    .join('\n')
}

const wrapped = (purpose: PagePurpose, said: PageTexts, parts: string[]) =>
  `<form method="post" action="${paths[purpose]}" data-unreachable="${escapeHtml(said.unreachable)}">
${parts.join('\n')}
</form>`

const carriedToken = (said: PageTexts, token: string | undefined) =>
  token === undefined ? tokenField(said) : `<input type="hidden" name="token" value="${escapeHtml(token)}">`

const currentPasswordField = ({ currentPassword }: PageTexts, isInvalid: boolean) => `<label>${escapeHtml(currentPassword)}
<input type="password" name="password" required autocomplete="current-password"${invalidBy(isInvalid)}></label>`

const invalidBy = (isInvalid: boolean) => isInvalid ? ' aria-describedby="outcome" aria-invalid="true"' : ''

const tokenField = ({ token, tokenHint }: PageTexts) => `<label class="token">${escapeHtml(token)}
<input name="token" required maxlength="200" autocomplete="off" autocapitalize="off" spellcheck="false" aria-describedby="token-hint">
<span class="quiet" id="token-hint">${escapeHtml(tokenHint)}</span></label>`

// Without a bound of its own: what is cut off in silence is not the password that was meant.
const passwordField = ({ password, passwordHint, reveal }: PageTexts, minLength: number, isInvalid: boolean) => `<label>${escapeHtml(password)}
<input type="password" name="new_password" required autocomplete="new-password" aria-describedby="${isInvalid ? 'outcome ' : ''}password-hint"${isInvalid ? ' aria-invalid="true"' : ''}>
<span class="quiet" id="password-hint">${escapeHtml(passwordHint(minLength))}</span></label>
<label hidden><input type="checkbox" class="reveal"> ${escapeHtml(reveal)}</label>`
