import { html, type Html } from '../../src/http/html.ts'
import type { Language } from '../../src/http/language.ts'
import type { Continuation } from './context.ts'
import type { FormFailure } from './failure.ts'
import { layoutTexts } from './texts/layout.ts'

/** The title of a page, and a sentence below it. */
export const head = (title: string, text?: string | Html): Html =>
  html`<div class="head"><h1>${title}</h1>${text !== undefined && html`<p class="quiet">${text}</p>`}</div>
`

/** Says why the form was refused. The script moves the focus to it, so that a screen reader reads it. */
export function failureNote (failure: FormFailure | undefined): Html | undefined {
  if (!failure) return undefined
  const { title, text, items = [] } = failure
  return html`<div class="note bad" id="failure" role="alert" tabindex="-1"><strong>${title}</strong>
<span>${text}</span>${items.length > 0 && html`<ul>${items.map(item => html`<li>${item}</li>`)}</ul>`}</div>
`
}

/** A note about something that went well, or that a person should know. */
export const note = (kind: 'good' | 'warn', text: string | Html): Html =>
  html`<div class="note ${kind}" role="status">${text}</div>
`

export interface Field {
  name: string
  label: string
  type?: 'text' | 'email'
  autocomplete: string
  value?: string | undefined
  isOptional?: boolean
  isFocused?: boolean
  /** Whether the form was refused because of this field. */
  isInvalid?: boolean
  hint?: string | undefined
}

/** A labelled field for text. */
export function field (given: Field): Html {
  const { name, label, type = 'text', autocomplete, value, isOptional, isFocused, hint } = given
  return html`<div class="field"><label for="${name}">${label}</label>
<input id="${name}" name="${name}" type="${type}" autocomplete="${autocomplete}" autocapitalize="${
  name === 'name' ? 'words' : 'none'}" spellcheck="false"${value !== undefined && html` value="${value}"`}${
  !isOptional && html` required`}${isFocused && html` autofocus`}${described(given)}>${
  hintText(name, hint)}</div>
`
}

export interface PasswordField {
  name: string
  label: string
  language: Language
  /** The shortest new password, in code points. Undefined if the password is an existing one. */
  minLength?: number | undefined
  isInvalid?: boolean
  hint?: string | undefined
}

/**
 * A field for a password, with a button that shows it. It has no maximum length: the browser would cut a long
 * password without a warning, and the password manager would save another one than was typed.
 */
export function passwordField (given: PasswordField): Html {
  const { name, label, language, minLength, hint } = given
  const { show, hide, thePassword } = layoutTexts[language]
  const use = minLength === undefined
    ? html`autocomplete="current-password"`
    : html`autocomplete="new-password" passwordrules="minlength: ${minLength};"`
  return html`<div class="field"><label for="${name}">${label}</label>
<div class="reveal"><input id="${name}" name="${name}" type="password" ${use} required${described(given)}>
<button type="button" hidden aria-controls="${name}" data-other="${hide}"><span>${show}</span><span
 class="sr"> (${thePassword})</span></button></div>${hintText(name, hint)}</div>
`
}

function described ({ name, hint, isInvalid }: Pick<Field, 'name' | 'hint' | 'isInvalid'>): Html {
  const ids = [...isInvalid ? ['failure'] : [], ...hint === undefined ? [] : [`${name}-hint`]]
  return html`${isInvalid && html` aria-invalid="true"`}${
    ids.length > 0 && html` aria-describedby="${ids.join(' ')}"`}`
}

const hintText = (name: string, hint: string | undefined) => hint !== undefined && html`
<span class="small quiet" id="${name}-hint">${hint}</span>`

/** A box to tick. Its value is `true`. */
export const checkbox = (name: string, label: string, isChecked: boolean): Html =>
  html`<label class="check"><input type="checkbox" name="${name}" value="true"${
    isChecked && html` checked`}> ${label}</label>`

export interface ButtonOptions {
  /** Whether the button is not the main one. */
  isPlain?: boolean
  /** The URL that it submits the form to, if not that of the form. */
  action?: string
  /** The name and value that it submits. */
  name?: string
  value?: string
}

/** A button that submits its form. One with another action submits fields that are not filled in, too. */
export const button = (label: string, { isPlain, action, name, value }: ButtonOptions = {}): Html =>
  html`<button class="button${isPlain && ' plain'}"${
    action !== undefined && html` formaction="${action}" formnovalidate`}${
    name !== undefined && html` name="${name}" value="${value}"`}>${label}</button>
`

/** A link that looks like a button. */
export const buttonLink = (url: string, label: string): Html =>
  html`<a class="button" href="${url}">${label}</a>
`

/** The line between two ways. */
export const orLine = (language: Language): Html => html`<p class="or">${layoutTexts[language].or}</p>
`

export const hiddenField = (name: string, value: string): Html =>
  html`<input type="hidden" name="${name}" value="${value}">`

/** A form that is sent to a page of the service, together with the sealed request. */
export const form = (action: string, continuation: Continuation | undefined, parts: readonly Html[]): Html =>
  html`<form method="post" action="${action}">${continuation && hiddenField('request', continuation.sealed)}
${parts}</form>
`

/** The address of a page, with the sealed request. */
export const withRequest = (path: string, continuation: Continuation | undefined): string =>
  continuation ? `${path}?request=${encodeURIComponent(continuation.sealed)}` : path
