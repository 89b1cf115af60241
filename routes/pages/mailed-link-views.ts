import type { ConfirmationMethod } from '../../src/accounts/problems.ts'
import type { LinkKind } from '../../src/accounts/link-requests.ts'
import { html, type Html } from '../../src/http/html.ts'
import type { LinkLives } from '../../src/mail/mail-context.ts'
import { formatDuration } from '../../src/mail/rendering.ts'
import { button, buttonLink, failureNote, field, form, head, withRequest } from './components.ts'
import type { PageContext } from './context.ts'
import { renderDocument } from './layout.ts'
import { formsOf } from './mailed-link-forms.ts'
import {
  mailedLinkPaths, mailedLinkTexts, type MailedLinkPage, type OpenLink
} from './mailed-link-state.ts'
import { decisionTexts } from './texts/decisions.ts'
import type { MailedLinkTexts } from './texts/mailed-links.ts'

function renderPage (
  context: PageContext, { kind, language, failure }: MailedLinkPage, title: string, main: Html
): string {
  const isFailure = failure !== undefined
  return renderDocument(context, { language, title, isFailure, path: mailedLinkPaths[kind], main })
}

/** Renders the page that a link opens. Its form shows what the link is for; the script submits it. */
export function renderOpening (
  context: PageContext, page: MailedLinkPage & { pasted?: string | undefined }
): string {
  const { kind, language, failure, pasted = '' } = page
  const texts = mailedLinkTexts[language]
  const { title } = texts.kinds[kind]
  const isInvalid = failure?.fields.includes('token') === true
  return renderPage(context, page, title, html`${head(title)}${failureNote(failure)}
<form method="post" action="${context.basePath}${mailedLinkPaths[kind]}/open" data-open>
<div class="field token"><label for="token">${texts.link}</label>
<input id="token" name="token" type="text" required autocomplete="off" autocapitalize="none"
 spellcheck="false" value="${pasted}"${isInvalid && html` aria-invalid="true"`} aria-describedby="${
  isInvalid && 'failure '}token-hint">
<span class="small quiet" id="token-hint">${texts.linkHint}</span></div>
${button(texts.open)}</form>
`)
}

/** Renders the page that says what a link is for, and does it. */
export function renderOpenLink (
  context: PageContext, page: MailedLinkPage & { link: OpenLink }
): string {
  const { kind, language, failure, link } = page
  const texts = mailedLinkTexts[language]
  const { purpose, address, methods, removesPassword, isFirstPassword } = link
  const { title: usualTitle, before, after } = texts.purposes[purpose]
  const title = isFirstPassword ? texts.firstPassword : usualTitle
  const separator = after === '' || after.startsWith('.') ? '' : ' '
  const subject = address !== '' && html`<p class="quiet">${before} <strong>${address}</strong>${separator}${
    after}</p>`
  const action = context.basePath + mailedLinkPaths[kind]
  return renderPage(context, page, title, html`<div class="head"><h1>${title}</h1>${subject}</div>
${failureNote(failure)}${methods.length > 0 && html`<p>${proofText(methods, texts)}</p>
`}${removesPassword && html`<p>${texts.removesPassword}</p>
`}${formsOf(context, { ...page, action })}${
    kind === 'password_reset' && !isFirstPassword && html`<p class="small quiet">${texts.signsOut}</p>
`}${isSessionNeeded(methods) && signInLink(context, texts)}`)
}

const isSessionNeeded = (methods: readonly ConfirmationMethod[]) =>
  methods.length > 0 && methods.every(method => method === 'session')

/** Returns the text that says what confirms the address. */
function proofText (methods: readonly ConfirmationMethod[], { proof }: MailedLinkTexts): string {
  if (!methods.includes('password')) {
    return methods.includes('new_password') ? proof.newPassword : proof.session
  }
  return methods.includes('new_password') ? proof.anyPassword : proof.password
}

/** The pages where a new link of each kind is asked for. */
const requestPaths: Record<LinkKind, string> = {
  email_verification: '/sign-up/link',
  password_reset: '/forgot',
  magic_link: '/sign-in/link'
}

/** Renders the page of a link that does not work any more, with a form that asks for a new one. */
export function renderInvalidLink (
  context: PageContext, page: MailedLinkPage & { lives: LinkLives }
): string {
  const { kind, language, lives } = page
  const texts = mailedLinkTexts[language]
  const seconds = {
    email_verification: lives.emailVerificationSeconds,
    password_reset: lives.passwordResetSeconds,
    magic_link: lives.magicLinkSeconds
  }[kind]
  const text = texts.kinds[kind].invalidText(formatDuration(seconds, language))
  return renderPage(context, page, texts.invalidTitle, html`${head(texts.invalidTitle, text)}${
    form(context.basePath + requestPaths[kind], undefined, [
      field({ name: 'email', label: texts.email, type: 'email', autocomplete: 'username', isFocused: true }),
      button(texts.newLink)
    ])}<p class="small quiet ways"><a href="${context.basePath}/sign-in">${texts.signInLink}</a></p>
`)
}

/** Renders the page of a link that has confirmed its address before. */
export function renderConfirmed (context: PageContext, page: MailedLinkPage & { address: string }): string {
  const { language, address } = page
  const texts = mailedLinkTexts[language]
  const text = html`<strong>${address}</strong> ${texts.confirmedText}`
  return renderPage(context, page, texts.confirmedTitle, html`${head(texts.confirmedTitle, text)}${
    nextLink(context, texts)}`)
}

/** Renders the result of a link that was used. */
export function renderDone (context: PageContext, page: MailedLinkPage): string {
  const { kind, language, continuation } = page
  const texts = mailedLinkTexts[language]
  const { doneTitle, doneText } = texts.kinds[kind]
  const next = continuation
    ? buttonLink(
      context.basePath + withRequest('/sign-in', continuation),
      decisionTexts[language].continueTo(continuation.clientName))
    : kind === 'password_reset' ? signInLink(context, texts) : nextLink(context, texts)
  return renderPage(context, page, doneTitle, html`${head(doneTitle, doneText)}${next}`)
}

const signInLink = ({ basePath }: PageContext, { signInLink: label }: MailedLinkTexts) =>
  buttonLink(`${basePath}/sign-in`, label)

const nextLink = (context: PageContext, texts: MailedLinkTexts) => context.homeUrl === undefined
  ? signInLink(context, texts)
  : buttonLink(context.homeUrl, texts.continueLink)
