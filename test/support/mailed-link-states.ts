import { emailTaken, invalidCredentials } from '../../src/users/problems.ts'
import type { LinkKind } from '../../src/accounts/link-requests.ts'
import type { Language } from '../../src/http/language.ts'
import { databaseUnavailable, validationFailed } from '../../src/http/problems.ts'
import type { Problem } from '../../src/http/problem.ts'
import { passwordRejected } from '../../src/passwords/problems.ts'
import type { PageContext } from '../../routes/pages/context.ts'
import { linkFailureOf, type OpenLink } from '../../routes/pages/mailed-link-state.ts'
import {
  renderConfirmed, renderInvalidLink, renderDone, renderOpening, renderOpenLink
} from '../../routes/pages/mailed-link-views.ts'

const lives = {
  emailVerificationSeconds: 86_400,
  passwordResetSeconds: 1_800,
  magicLinkSeconds: 600,
  emailUndoSeconds: 604_800
}
const kinds = ['email_verification', 'password_reset', 'magic_link'] as const
const address = 'ada.lovelace.of.london@mail.example.com'
const token = `lkl_${'a'.repeat(43)}`

/** Every state of the pages of mailed links, in a language, by its name. */
export function mailedLinkStates (language: Language, context: PageContext): Array<[string, string]> {
  const open = (kind: LinkKind, link: Partial<OpenLink> = {}, problem?: Problem) => {
    const { purpose = kind, methods = [] } = link
    const failure = problem && linkFailureOf(context, problem, language, methods)
    return renderOpenLink(context, {
      kind, language, failure, link: { token, address, isRemembered: true, ...link, purpose, methods }
    })
  }
  const malformed = linkFailureOf(context, validationFailed('', []), language, [])
  const both: OpenLink['methods'] = ['password', 'new_password']
  const confirm = (link: Partial<OpenLink>, problem?: Problem) => open('email_verification', link, problem)
  return [
    ...kinds.map((kind): [string, string] => [`link: ${kind}`, renderOpening(context, { kind, language })]),
    ['link: malformed', renderOpening(context, {
      kind: 'magic_link', language, failure: malformed, pasted: '"><script>alert(1)</script>'
    })],
    ['link confirms', confirm({})],
    ['link confirms with a password', confirm({ methods: both })],
    ['link confirms: wrong password', confirm({ methods: both }, invalidCredentials())],
    ['link confirms: rejected password', confirm({ methods: both }, passwordRejected(['too_short']))],
    ['link confirms: taken address', confirm({ methods: both }, emailTaken())],
    ['link confirms with a new password', confirm({ methods: ['new_password'] })],
    ['link changes the address', confirm({ purpose: 'email_change', methods: ['session', 'password'] })],
    ['link changes the address of a session', confirm({ purpose: 'email_change', methods: ['session'] })],
    ['link undoes a change', confirm({ purpose: 'email_undo' })],
    ['link sets a password', open('password_reset')],
    ['link sets a password: rejected', open('password_reset', {}, passwordRejected(['too_common']))],
    ['link sets the first password', open('password_reset', { isFirstPassword: true })],
    ['link signs in', open('magic_link')],
    ['link signs in and removes the password', open('magic_link', { removesPassword: true })],
    ['link signs in: outage', open('magic_link', {}, databaseUnavailable(''))],
    ['link is for a hostile address', open('magic_link', { address: '"><script>alert(1)</script>@x' })],
    ...kinds.map((kind): [string, string] =>
      [`invalid link: ${kind}`, renderInvalidLink(context, { kind, language, lives })]),
    ...kinds.map((kind): [string, string] => [`link done: ${kind}`, renderDone(context, { kind, language })]),
    ['link confirmed before', renderConfirmed(context, { kind: 'email_verification', language, address })]
  ]
}
