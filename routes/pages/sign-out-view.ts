import { html } from '../../src/http/html.ts'
import type { Language } from '../../src/http/language.ts'
import { button, buttonLink, form, head, hiddenField } from './components.ts'
import type { PageContext } from './context.ts'
import { renderDocument } from './layout.ts'
import { decisionTexts } from './texts/decisions.ts'
import { startTexts } from './texts/start.ts'

export interface SignOutView {
  language: Language
  /** The sealed request for the sign-out, which the form carries; undefined if there is none. */
  sealed: string | undefined
  /** The address or the username of the account that is signed in. */
  account: string | undefined
}

/** Renders the question whether to sign out. */
export function renderSignOut (context: PageContext, { language, sealed, account }: SignOutView): string {
  const { signOutTitle: title, signOutText, signOut, staySignedIn } = decisionTexts[language]
  const request = sealed === undefined ? [] : [hiddenField('request', sealed)]
  return renderDocument(context, {
    language,
    title,
    path: sealed === undefined ? '/sign-out' : `/sign-out?request=${sealed}`,
    main: html`${head(title, account)}<p>${signOutText}</p>
${form(`${context.basePath}/sign-out`, undefined, [...request, html`<div class="pair">${
  button(staySignedIn, { isPlain: true, name: 'decision', value: 'stay' })}${
  button(signOut, { isPlain: true, name: 'decision', value: 'sign-out' })}</div>`])}`
  })
}

export interface SignedInView {
  language: Language
  /** The address of the account. */
  account: string
}

/** Renders the page of a person who is signed in, and came from no application. */
export function renderSignedIn (context: PageContext, { language, account }: SignedInView): string {
  const { signedInTitle: title, signedInText, leavingTitle, signOut } = decisionTexts[language]
  const { homeUrl, basePath, hasStartPage } = context
  return renderDocument(context, {
    language,
    title,
    path: '/signed-in',
    main: html`${head(title, account)}<p>${signedInText}</p>
${homeUrl !== undefined
  ? buttonLink(homeUrl, leavingTitle)
  : hasStartPage && buttonLink(`${basePath}/`, startTexts[language].back)}
<p class="small quiet ways"><a href="${basePath}/sign-out">${signOut}</a></p>`
  })
}

/** Renders the page after a sign-out. `url` is where the person can go on. */
export function renderSignedOut (
  context: PageContext, { language, url }: { language: Language, url?: string | undefined }
): string {
  const { signedOutTitle: title, signedOutText, signInAgain } = decisionTexts[language]
  return renderDocument(context, {
    language,
    title,
    path: '/signed-out',
    main: html`${head(title, signedOutText)}${buttonLink(url ?? `${context.basePath}/sign-in`, signInAgain)}`
  })
}
