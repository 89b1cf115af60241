import { escapeHtml } from '../../src/http/html.ts'
import type { PageTexts } from './page-texts.ts'
import type { PageView } from './page-view.ts'

/** Returns the form of a page. A page that confirms an address has one form for each method. */
export function formsOf (
  { purpose, minLength, outcome }: PageView, pageTexts: PageTexts, action: string
): string {
  const { token, reasons, methods, isPasswordWrong = false } = outcome
  const form = (parts: string[]) => [
    `<form method="post" action="${action}" data-unreachable="${escapeHtml(pageTexts.unreachable)}">`,
    ...parts,
    '</form>'
  ].join('\n')
  const newPassword = () => newPasswordField(pageTexts, minLength, reasons !== undefined)
  const submitToken = token === undefined ? tokenField(pageTexts) : hiddenField('token', token)
  if (purpose === 'email_verification' && methods) {
    const isSecondary = methods.includes('password')
    const fields = {
      session: undefined,
      password: [currentPasswordField(pageTexts, isPasswordWrong), button(pageTexts.confirmWithPassword)],
      new_password: [newPassword(), button(pageTexts.confirmWithNewPassword, isSecondary)]
    }
    const submitMethods = hiddenField('methods', methods.join(' '))
    return methods
      .flatMap(method => fields[method] ? [form([submitToken, submitMethods, ...fields[method]])] : [])
      .join('\n')
  }
  const fields = {
    email_verification: [],
    password_reset: [newPassword()],
    magic_link: [staySignedInBox(pageTexts)]
  }
  return form([submitToken, ...fields[purpose], button(pageTexts.pages[purpose].button)])
}

const hiddenField = (name: string, value: string) =>
  `<input type="hidden" name="${name}" value="${escapeHtml(value)}">`

const button = (label: string, isSecondary = false) =>
  `<button${isSecondary ? ' class="second"' : ''}>${escapeHtml(label)}</button>`

const staySignedInBox = ({ staySignedIn }: PageTexts) =>
  `<label><input type="checkbox" name="remember" value="true"> ${escapeHtml(staySignedIn)}</label>`

const currentPasswordField = ({ currentPassword }: PageTexts, isInvalid: boolean) => {
  const invalid = isInvalid ? ' aria-describedby="outcome" aria-invalid="true"' : ''
  return `<label>${escapeHtml(currentPassword)}
<input type="password" name="password" required autocomplete="current-password"${invalid}></label>`
}

/** The script hides this field if it finds the token in the page's address. */
const tokenField = ({ token, tokenHint }: PageTexts) => `<label class="token">${escapeHtml(token)}
<input name="token" required maxlength="200" autocomplete="off" autocapitalize="off" spellcheck="false"
 aria-describedby="token-hint">
<span class="quiet" id="token-hint">${escapeHtml(tokenHint)}</span></label>`

// No maxlength: the browser would cut a long password without a warning, and save another one than was typed.
const newPasswordField = (pageTexts: PageTexts, minLength: number, isInvalid: boolean) => {
  const description = `aria-describedby="${isInvalid ? 'outcome ' : ''}password-hint"`
  return `<label>${escapeHtml(pageTexts.newPassword)}
<input type="password" name="new_password" required autocomplete="new-password" ${description}${
  isInvalid ? ' aria-invalid="true"' : ''
}>
<span class="quiet" id="password-hint">${escapeHtml(pageTexts.newPasswordHint(minLength))}</span></label>
<label hidden><input type="checkbox" class="reveal"> ${escapeHtml(pageTexts.showPassword)}</label>`
}
