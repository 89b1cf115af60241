import type { FastifyReply, FastifyRequest } from 'fastify'
import { cookieName } from '../../src/http/cookie-name.ts'
import { cookieValues } from '../../src/http/cookie-header.ts'
import { html } from '../../src/http/html.ts'
import type { Language } from '../../src/http/language.ts'
import type { LinkLives } from '../../src/mail/mail-context.ts'
import { button, field, form, head, withRequest } from './components.ts'
import type { Continuation, PageContext } from './context.ts'
import { renderDocument } from './layout.ts'
import { inboxTexts, type SentKind } from './texts/inbox.ts'
import { signInTexts } from './texts/sign-in.ts'

const inboxPath = '/check-inbox'
const cookieSeconds = 600
const maxAddressLength = 320
/** Where each kind of mail is asked for again, and the field that has the address there. */
const requests: Record<SentKind, { path: string, name: string }> = {
  'sign-in': { path: '/sign-in/link', name: 'identifier' },
  password: { path: '/forgot', name: 'email' },
  'sign-up': { path: '/sign-up/link', name: 'identifier' }
}

export interface InboxView {
  language: Language
  continuation?: Continuation | undefined
  sent: SentKind
  /** The address as it was typed; undefined if it is not known any more. */
  address: string | undefined
  lives: LinkLives
  /** Whether emails are sent. In development, the start page can show them instead. */
  isSent: boolean
}

/** Renders the page that says what was sent, where, and how to ask again. */
export function renderInbox (context: PageContext, view: InboxView): string {
  const { language, continuation, sent, address, lives, isSent } = view
  const texts = inboxTexts[language]
  const [before, after] = texts.texts[sent]
  const seconds = {
    'sign-in': lives.magicLinkSeconds,
    password: lives.passwordResetSeconds,
    'sign-up': lives.emailVerificationSeconds
  }[sent]
  const { path, name } = requests[sent]
  const shown = html`<strong>${address ?? texts.yourAddress}</strong>`
  return renderDocument(context, {
    language,
    title: texts.title,
    path: `${withRequest(inboxPath, continuation)}${continuation ? '&' : '?'}sent=${sent}`,
    main: html`${head(texts.title)}<p>${before} ${shown}${sent === 'sign-up' && '.'} ${after}</p>
<p class="small quiet">${texts.lifetime(formatDuration(seconds, language))}</p>
<p class="small quiet">${
  isSent ? texts.missing : html`${texts.notSent} <a href="${context.basePath}/">${texts.openMails}</a>`}</p>
${form(context.basePath + path, continuation, [
  field({ name, label: texts.email, type: 'email', autocomplete: 'username', value: address }),
  button(texts.again, { isPlain: true })
])}<p class="small quiet ways"><a href="${context.basePath}${withRequest('/sign-in', continuation)}">${
  signInTexts[language].backToSignIn}</a></p>`
  })
}

/** Answers with a redirect to the page, and keeps the typed address for it in a cookie. */
export function redirectToInbox (
  reply: FastifyReply, { issuer, basePath }: PageContext,
  { sent, address, continuation }: Pick<InboxView, 'sent' | 'address' | 'continuation'>
): FastifyReply {
  const secure = issuer.startsWith('https:')
  const path = `${withRequest(inboxPath, continuation)}${continuation ? '&' : '?'}sent=${sent}`
  return reply
    .setCookie(cookieName(issuer, 'inbox'), address ?? '', {
      path: '/', httpOnly: true, sameSite: 'strict', secure, maxAge: cookieSeconds
    })
    .redirect(basePath + path, 303)
}

/** Returns the address that was typed, from the cookie of `redirectToInbox`. */
export function sentAddress ({ headers }: FastifyRequest, issuer: string): string | undefined {
  const [value] = cookieValues(headers.cookie, cookieName(issuer, 'inbox'))
  try {
    const address = decodeURIComponent(value ?? '')
    return address !== '' && address.length <= maxAddressLength ? address : undefined
  } catch {
    return undefined
  }
}

/** Returns a time in words, such as "10 minutes". */
function formatDuration (seconds: number, language: Language): string {
  const unit = seconds < 120 ? 'second' : seconds < 7_200 ? 'minute' : seconds <= 172_800 ? 'hour' : 'day'
  const size = { second: 1, minute: 60, hour: 3_600, day: 86_400 }[unit]
  return new Intl.NumberFormat(language, { style: 'unit', unit, unitDisplay: 'long' })
    .format(Math.floor(seconds / size))
}
