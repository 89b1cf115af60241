import { emailTaken, invalidCredentials, accountDisabled } from '../../src/users/problems.ts'
import { InvalidAuthorizationRequest } from '../../src/delegation/problems.ts'
import { emailNotVerified } from '../../src/authentication/problems.ts'
import type { Language } from '../../src/http/language.ts'
import { databaseUnavailable, notFound, tooManyRequests, validationFailed } from '../../src/http/problems.ts'
import { passwordRejected } from '../../src/passwords/problems.ts'
import { pageAssets } from '../../routes/pages/assets.ts'
import { renderConsent } from '../../routes/pages/consent-view.ts'
import type { Continuation, PageContext } from '../../routes/pages/context.ts'
import { renderError } from '../../routes/pages/error-view.ts'
import { renderInbox } from '../../routes/pages/inbox.ts'
import { renderRedirectPage } from '../../routes/pages/redirect-view.ts'
import { renderForgot, renderSignIn, renderSignUp } from '../../routes/pages/sign-in-views.ts'
import { renderSignedOut, renderSignOut } from '../../routes/pages/sign-out-view.ts'
import { mailedLinkStates } from './mailed-link-states.ts'
import { renderMailPage, renderStart } from '../../routes/pages/start-view.ts'

export const pageContext: PageContext = {
  brand: {
    name: 'Acme & Söhne',
    supportUrl: 'https://acme.example/help',
    privacyUrl: 'https://acme.example/privacy',
    termsUrl: 'https://acme.example/terms'
  },
  assets: pageAssets({ color: undefined, logo: undefined }),
  issuer: 'https://auth.acme.example',
  basePath: '',
  homeUrl: undefined,
  hasStartPage: true,
  minLength: 8
}

/** The request of a client. Its name is an attack. */
export const hostile: Continuation = {
  sealed: 'sealed"><script>alert(1)</script>',
  clientName: '<img src=x onerror=alert(1)> Orders',
  loginHint: '"><b>ada'
}

const requestId = '01a22c12-ad0d-7117-bb41-c332ef65c6b0'
const lives = {
  emailVerificationSeconds: 86_400,
  passwordResetSeconds: 1_800,
  magicLinkSeconds: 600,
  emailUndoSeconds: 604_800
}
const mail = {
  id: 3,
  at: new Date(0),
  to: 'ada@example.com',
  language: 'en' as const,
  subject: 'Sign in to Acme',
  text: 'Open this link:\n\n' +
    'https://auth.acme.example/magic-link#token=lkl_4l3Yc0w7pD2abcdefghijklmnopqrstuvwxyz\n',
  html: '<p>Open</p>',
  link: 'https://auth.acme.example/magic-link#token=lkl_4l3Yc0w7pD2abcdefghijklmnopqrstuvwxyz'
}

/** Every state of every page, in a language, by its name. */
export function pageStates (language: Language, context: PageContext = pageContext): Map<string, string> {
  const fresh = { language, typed: {}, requestId }
  const typed = {
    identifier: 'ada@example.com', email: 'ada@example.com', name: 'Ada Lovelace', remember: 'true'
  }
  const continuation: Continuation = { sealed: 'lkq_'.padEnd(600, 'a'), clientName: 'Orders' }
  const problems = {
    'wrong password': invalidCredentials(),
    'unverified address': emailNotVerified(),
    'disabled account': accountDisabled(),
    'malformed form': validationFailed('', [{ pointer: '/password', detail: 'is required' }]),
    throttled: tooManyRequests(30),
    outage: databaseUnavailable('')
  }
  const consent = {
    language,
    continuation,
    isUnverified: false,
    redirectHost: 'orders.example.com',
    scopes: ['openid', 'profile', 'email', 'offline_access', 'orders:read'],
    account: 'ada@example.com'
  }
  const sent = ['sign-in', 'password', 'sign-up'] as const
  return new Map<string, string>([
    ['sign in', renderSignIn(context, fresh)],
    ['sign in for a client', renderSignIn(context, { ...fresh, continuation, typed })],
    ...Object.entries(problems).map(([name, problem]) =>
      [`sign in: ${name}`, renderSignIn(context, { ...fresh, typed, problem })] as const),
    ['sign up', renderSignUp(context, { ...fresh, continuation })],
    ['sign up: rejected password', renderSignUp(context, {
      ...fresh, typed, problem: passwordRejected(['too_short', 'too_common', 'contains_email'])
    })],
    ['sign up: taken address', renderSignUp(context, { ...fresh, typed, problem: emailTaken() })],
    ['forgot', renderForgot(context, { ...fresh, continuation })],
    ['forgot: malformed address', renderForgot(context, {
      ...fresh, typed, problem: validationFailed('', [{ pointer: '/email', detail: 'must be an address' }])
    })],
    ...sent.map(kind => [`check your inbox: ${kind}`, renderInbox(context, {
      language,
      sent: kind,
      address: 'ada.lovelace.of.london@mail.example.com',
      lives,
      continuation,
      isSent: true
    })] as const),
    ['check your inbox: unknown address',
      renderInbox(context, { language, sent: 'sign-in', address: undefined, lives, isSent: false })],
    ['consent', renderConsent(context, consent)],
    ['consent for an unverified client', renderConsent(context, { ...consent, isUnverified: true })],
    ['sign out', renderSignOut(context, { language, sealed: 'sealed', account: 'ada@example.com' })],
    ['signed out', renderSignedOut(context, { language })],
    ['leaving', renderRedirectPage(context, { language, url: 'about:blank#next', name: 'Orders' })],
    ...mailedLinkStates(language, context),
    ['not found', renderError(context, { language, requestId, problem: notFound() })],
    ['error of a client', renderError(context, {
      language, requestId, problem: new InvalidAuthorizationRequest('redirect_uri_unregistered')
    })],
    ['start', renderStart(context, { language, hasDocs: true, commandPrefix: '', mails: [mail] })],
    ['start without mails', renderStart(context, { language, hasDocs: true, commandPrefix: '', mails: [] })],
    ['mail', renderMailPage(context, { language, mail })]
  ])
}
