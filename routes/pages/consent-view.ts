import { html, type Html } from '../../src/http/html.ts'
import type { Language } from '../../src/http/language.ts'
import { button, form, head, note, withRequest } from './components.ts'
import type { Continuation, PageContext } from './context.ts'
import { renderDocument } from './layout.ts'
import { decisionTexts } from './texts/decisions.ts'

export interface ConsentView {
  language: Language
  /** The request that the person decides about. The form carries it. */
  continuation: Continuation
  /** Whether the client registered itself, so that its name was not checked. */
  isUnverified: boolean
  /** The host of the redirect URI, or its scheme if it has no host. */
  redirectHost: string
  scopes: readonly string[]
  /** The services that the client may call for the user (RFC 8707). */
  resources?: readonly string[]
  /** The address or the username of the account that is signed in. */
  account: string
}

/** Renders the question whether a client may use the account. Both answers have the same weight. */
export function renderConsent (context: PageContext, view: ConsentView): string {
  const { language, continuation, isUnverified, redirectHost, scopes, resources = [], account } = view
  const texts = decisionTexts[language]
  const title = texts.consentTitle(continuation.clientName)
  const words = (scope: string): Html =>
    Object.hasOwn(texts.scopes, scope) ? html`${texts.scopes[scope]}` : html`<code>${scope}</code>`
  return renderDocument(context, {
    language,
    title,
    path: withRequest('/consent', continuation),
    main: html`${head(title)}${isUnverified && note('warn', texts.unverified)}<dl class="facts">
<div><dt>${texts.account}</dt><dd>${account}</dd></div>
<div><dt>${texts.destination}</dt><dd>${redirectHost}</dd></div></dl>
<div><p>${texts.asksFor}</p>
<ul class="scopes">${scopes.map(scope => html`<li>${words(scope)}</li>`)}${
    resources.map(resource => html`<li>${texts.useResource(resource)}</li>`)}</ul></div>
${form(`${context.basePath}/consent`, continuation, [html`<div class="pair">${
  button(texts.cancel, { isPlain: true, name: 'decision', value: 'cancel' })}${
  button(texts.allow, { isPlain: true, name: 'decision', value: 'allow' })}</div>`])}`
  })
}
