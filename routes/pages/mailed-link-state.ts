import { type ConfirmationMethod, confirmationMethods } from '../../src/accounts/problems.ts'
import type { LinkPreview } from '../../src/accounts/link-preview.ts'
import type { LinkKind } from '../../src/accounts/link-requests.ts'
import type { Language } from '../../src/http/language.ts'
import type { Problem } from '../../src/http/problem.ts'
import { oneTimeTokenPurposes } from '../../src/one-time-tokens/one-time-tokens.ts'
import { passwordReasons } from '../../src/passwords/problems.ts'
import type { Continuation, PageContext } from './context.ts'
import { describeProblem, type FormFailure } from './failure.ts'
import { failureTexts } from './texts/failures.ts'
import de from './texts/mailed-links-de.ts'
import en from './texts/mailed-links-en.ts'
import type { MailedLinkTexts } from './texts/mailed-links.ts'

/** The texts of the pages that mailed links open. */
export const mailedLinkTexts: Record<Language, MailedLinkTexts> = { en, de }

/** The paths of the pages of mailed links. */
export const mailedLinkPaths: Record<LinkKind, string> = {
  email_verification: '/email-verification',
  password_reset: '/password-reset',
  magic_link: '/magic-link'
}

/** What every page of a mailed link is rendered from. */
export interface MailedLinkPage {
  kind: LinkKind
  language: Language
  /** The request of a client for which this browser asked for the mail. */
  continuation?: Continuation | undefined
  failure?: FormFailure | undefined
}

/** A link that is open on a page, and what was done there. */
export interface OpenLink extends LinkPreview {
  token: string
  isRemembered: boolean
}

/** The token in a text: in a whole link that was pasted, or the text itself. */
export const tokenIn = (text: string): string =>
  /#token=([\w-]+)/.exec(text.replaceAll(/\s/g, ''))?.[1] ?? text.trim()

/**
 * Reads an open link from the form that its page submitted, so that a refusal shows the page again. Undefined
 * if the form has no token. The form may break its schema.
 */
export function readOpenLink (body: unknown, kind: LinkKind, { members }: Problem): OpenLink | undefined {
  const { token, username, purpose, methods, remember }: Record<string, unknown> = Object(body)
  if (typeof token !== 'string' || !/^lkl_[\w-]{1,196}$/.test(token)) return undefined
  const named: unknown = members['methods'] ?? (typeof methods === 'string' ? methods.split(' ') : undefined)
  return {
    token,
    purpose: oneTimeTokenPurposes.find(each => each === purpose) ?? kind,
    address: typeof username === 'string' ? username.slice(0, maxAddressLength) : '',
    methods: Array.isArray(named) ? confirmationMethods.filter(method => named.includes(method)) : [],
    isRemembered: remember === 'true'
  }
}

const maxAddressLength = 320

/** What a page says about the problem of its form; undefined if only a proof is missing. */
export function linkFailureOf (
  { minLength }: PageContext, problem: Problem, language: Language, methods: readonly ConfirmationMethod[]
): FormFailure | undefined {
  const texts = mailedLinkTexts[language]
  const shared = failureTexts[language]
  const refused = (text: string, ...fields: string[]) => ({ title: shared.refused, text, fields })
  switch (problem.code) {
    case 'password_required': return undefined
    case 'invalid_credentials': {
      const { orNewPassword, passwordOnly } = texts.wrongPassword
      return refused(methods.includes('new_password') ? orNewPassword : passwordOnly, 'password')
    }
    case 'password_rejected': {
      const { reasons } = problem.members
      const items = passwordReasons.filter(reason => Array.isArray(reasons) && reasons.includes(reason))
        .map(reason => shared.passwordReasons[reason](minLength))
      return { ...refused(shared.passwordRejected, 'new_password'), items }
    }
    case 'email_taken': return refused(texts.addressTaken)
    case 'account_disabled': return refused(shared.accountDisabled)
    case 'validation_failed': return refused(texts.malformed, 'token')
    case 'cross_site_request': return refused(texts.crossSite)
    default: return { ...describeProblem(problem, language), fields: [] }
  }
}
