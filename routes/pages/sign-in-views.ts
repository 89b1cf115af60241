import { html, type Html } from '../../src/http/html.ts'
import {
  button, checkbox, failureNote, field, form, head, orLine, passwordField, withRequest
} from './components.ts'
import type { PageContext, PageState } from './context.ts'
import { failureOf } from './failure.ts'
import { renderDocument } from './layout.ts'
import { signInTexts } from './texts/sign-in.ts'

type Fields = (name: string) => { isInvalid: boolean, value: string | undefined }

/** Renders a page of sign-in: its failure, its form, and the links to the other pages. */
function renderPage (
  context: PageContext, state: PageState, page: { path: string, title: string, text?: string | Html },
  formParts: (fields: Fields, isFresh: boolean) => readonly Html[]
): string {
  const { language, continuation, typed } = state
  const failure = failureOf(context, state)
  const fields: Fields = name => ({ isInvalid: failure?.fields.includes(name) === true, value: typed[name] })
  const { path, title, text } = page
  return renderDocument(context, {
    language,
    title,
    isFailure: failure !== undefined,
    path: withRequest(path, continuation),
    main: html`${head(title, text)}${failureNote(failure)}${
      form(context.basePath + path, continuation, formParts(fields, failure === undefined))}${
      linksOf(context, state, path)}`
  })
}

/** Renders the page to sign in. */
export function renderSignIn (context: PageContext, state: PageState): string {
  const { language, continuation, typed, problem } = state
  const texts = signInTexts[language]
  const link = (path: string) => context.basePath + withRequest(path, continuation)
  const text = continuation && html`${texts.toContinueTo} <strong>${continuation.clientName}</strong>`
  const page = { path: '/sign-in', title: texts.signIn, ...text && { text } }
  const isUnverified = problem?.code === 'email_not_verified'
  return renderPage(context, state, page, (fields, isFresh) => [
    field({
      name: 'identifier',
      label: texts.identifier,
      autocomplete: 'username',
      isFocused: isFresh && !typed['identifier'],
      ...fields('identifier')
    }),
    passwordField({
      name: 'password', label: texts.password, language, isInvalid: fields('password').isInvalid
    }),
    html`<div class="row">${checkbox('remember', texts.remember, typed['remember'] === 'true')}
<a class="small" href="${link('/forgot')}">${texts.forgotLink}</a></div>
`,
    button(texts.signIn),
    orLine(language),
    isUnverified
      ? button(texts.resendVerification, { isPlain: true, action: `${context.basePath}/sign-up/link` })
      : button(texts.emailLink, { isPlain: true, action: `${context.basePath}/sign-in/link` })
  ])
}

const emailField = (label: string) =>
  ({ name: 'email', label, type: 'email' as const, autocomplete: 'username' })

/** Renders the page to sign up. */
export function renderSignUp (context: PageContext, state: PageState): string {
  const { language, continuation } = state
  const texts = signInTexts[language]
  const text = continuation && html`${texts.toContinueTo} <strong>${continuation.clientName}</strong>`
  const page = { path: '/sign-up', title: texts.signUp, ...text && { text } }
  return renderPage(context, state, page, (fields, isFresh) => [
    field({ ...emailField(texts.email), isFocused: isFresh, ...fields('email') }),
    field({ name: 'name', label: texts.name, autocomplete: 'name', isOptional: true, ...fields('name') }),
    passwordField({
      name: 'password',
      label: texts.password,
      language,
      minLength: context.minLength,
      isInvalid: fields('password').isInvalid,
      hint: texts.newPasswordHint(context.minLength)
    }),
    button(texts.signUpButton)
  ])
}

/** Renders the page to ask for a link that sets a new password. */
export function renderForgot (context: PageContext, state: PageState): string {
  const texts = signInTexts[state.language]
  const page = { path: '/forgot', title: texts.forgot, text: texts.forgotText }
  return renderPage(context, state, page, (fields, isFresh) => [
    field({ ...emailField(texts.email), isFocused: isFresh, ...fields('email') }),
    button(texts.forgotButton)
  ])
}

/** The links from one of these pages to another one, with the sealed request. */
function linksOf ({ basePath }: PageContext, { language, continuation }: PageState, path: string): Html {
  const texts = signInTexts[language]
  const link = (target: string, text: string) =>
    html`<a href="${basePath}${withRequest(target, continuation)}">${text}</a>`
  const content = {
    '/sign-in': html`${texts.newHere} ${link('/sign-up', texts.signUpLink)}`,
    '/sign-up': html`${texts.haveAccount} ${link('/sign-in', texts.signIn)}`
  }[path] ?? link('/sign-in', texts.backToSignIn)
  return html`<p class="small quiet ways">${content}</p>
`
}
