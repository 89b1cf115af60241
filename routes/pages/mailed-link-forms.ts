import { html, type Html } from '../../src/http/html.ts'
import { button, checkbox, form, hiddenField, passwordField } from './components.ts'
import type { MailedLinkView } from './mailed-link-outcome.ts'
import type { MailedLinkTexts } from './texts/mailed-links.ts'

/** Returns the form of a page. A page that confirms an address has one form for each method. */
export function formsOf (view: MailedLinkView, texts: MailedLinkTexts, action: string): readonly Html[] {
  const { purpose, language, minLength, outcome } = view
  const { token, reasons, methods, isPasswordWrong = false } = outcome
  const newPassword = () => passwordField({
    name: 'new_password',
    label: texts.newPassword,
    language,
    minLength,
    isInvalid: reasons !== undefined,
    hint: texts.newPasswordHint(minLength)
  })
  const submitToken = token === undefined ? tokenField(texts) : hiddenField('token', token)
  if (purpose === 'email_verification' && methods) {
    const isSecondary = methods.includes('password')
    const currentPassword = () =>
      passwordField({ name: 'password', label: texts.currentPassword, language, isInvalid: isPasswordWrong })
    const fields = {
      session: undefined,
      password: [currentPassword(), button(texts.confirmWithPassword)],
      new_password: [newPassword(), button(texts.confirmWithNewPassword, { isPlain: isSecondary })]
    }
    const submitMethods = hiddenField('methods', methods.join(' '))
    return methods.flatMap(method =>
      fields[method] ? [form(action, undefined, [submitToken, submitMethods, ...fields[method]])] : [])
  }
  const fields = {
    email_verification: [],
    password_reset: [newPassword()],
    magic_link: [checkbox('remember', texts.staySignedIn, false)]
  }
  return [form(action, undefined, [submitToken, ...fields[purpose], button(texts.pages[purpose].button)])]
}

/** The script hides this field if it finds the token in the page's address. */
const tokenField = ({ token, tokenHint }: MailedLinkTexts) => html`<div class="field token">
<label for="token">${token}</label>
<input id="token" name="token" type="text" required maxlength="200" autocomplete="off" autocapitalize="off"
 spellcheck="false" aria-describedby="token-hint">
<span class="small quiet" id="token-hint">${tokenHint}</span></div>
`
