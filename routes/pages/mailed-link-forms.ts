import { html, type Html } from '../../src/http/html.ts'
import { button, checkbox, form, hiddenField, passwordField } from './components.ts'
import type { PageContext } from './context.ts'
import { mailedLinkTexts, type MailedLinkPage, type OpenLink } from './mailed-link-state.ts'

export interface LinkForms extends MailedLinkPage { link: OpenLink, action: string }

/** Returns the forms that use an open link. A page that confirms an address has one for each method. */
export function formsOf ({ minLength }: PageContext, page: LinkForms): readonly Html[] {
  const { kind, language, failure, link, action } = page
  const { token, purpose, address, methods, isRemembered } = link
  const texts = mailedLinkTexts[language]
  const known = [
    hiddenField('token', token), hiddenField('purpose', purpose), hiddenField('methods', methods.join(' '))
  ]
  const formWith = (parts: readonly Html[]) => form(action, undefined, [...known, ...parts])
  const isInvalid = (name: string) => failure?.fields.includes(name) === true
  const newPassword = () => passwordField({
    name: 'new_password',
    label: texts.newPassword,
    language,
    minLength,
    isInvalid: isInvalid('new_password'),
    hint: texts.newPasswordHint(minLength)
  })
  const { button: label } = texts.purposes[purpose]
  if (kind === 'password_reset') return [formWith([usernameField(address), newPassword(), button(label)])]
  if (kind === 'magic_link') {
    const remember = checkbox('remember', texts.staySignedIn, isRemembered)
    return [formWith([hiddenField('username', address), remember, button(label)])]
  }
  if (methods.length === 0) return [formWith([hiddenField('username', address), button(label)])]
  const currentPassword = () => passwordField({
    name: 'password', label: texts.currentPassword, language, isInvalid: isInvalid('password')
  })
  const isSecondary = methods.includes('password')
  const fields = {
    session: undefined,
    password: [currentPassword(), button(texts.confirmWithPassword)],
    new_password: [newPassword(), button(texts.confirmWithNewPassword, { isPlain: isSecondary })]
  }
  return methods.flatMap(method =>
    fields[method] ? [formWith([usernameField(address), ...fields[method]])] : [])
}

/** Tells a password manager which account a password is for. */
const usernameField = (address: string) => html`<span class="sr" aria-hidden="true"><input name="username"
 type="text" autocomplete="username" value="${address}" readonly tabindex="-1"></span>
`
