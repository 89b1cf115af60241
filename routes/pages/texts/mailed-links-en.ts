import type { MailedLinkTexts } from './mailed-links.ts'

const english: MailedLinkTexts = {
  pages: {
    email_verification: {
      title: 'Confirm',
      introduction: 'You opened a link from an e-mail. Press the button to confirm what it asks for.',
      button: 'Confirm',
      doneTitle: 'Confirmed',
      doneText: 'Thank you. Your request is complete.'
    },
    password_reset: {
      title: 'Choose a password',
      introduction: 'Choose a password for your account. You will be signed out on all devices.',
      button: 'Set password',
      doneTitle: 'Your password is set',
      doneText: 'Use it the next time you sign in.'
    },
    magic_link: {
      title: 'Sign in',
      introduction: 'This link signs you in on this device. It works once.',
      button: 'Sign in',
      doneTitle: 'You are signed in',
      doneText: 'You can return to the application.'
    }
  },
  token: 'Link code',
  tokenHint: 'Copy it from the link in the e-mail: it is the part after “#token=”.',
  newPassword: 'New password',
  newPasswordHint: minLength => `At least ${minLength} characters. A phrase of several words is a good ` +
    'choice.',
  currentPassword: 'Password',
  confirmWithPassword: 'Confirm with this password',
  confirmWithNewPassword: 'Set password and confirm',
  proof: {
    anyPassword: 'One more step: someone signed up with this address and set a password. If it was you, ' +
      'enter that password. If it was not you, or if you do not know the password, choose a new one. The ' +
      'new password replaces the old one and signs out everyone else.',
    newPassword: 'One more step: choose a password for your account. Everyone else will be signed out.',
    password: 'One more step: enter the password of the account whose address will change. Or sign in to ' +
      'that account in this browser, and open the link again.',
    session: 'One more step: in this browser, sign in to the account whose address will change. Then open ' +
      'the link again. If you do not know that account, close this page. Nothing will change.'
  },
  wrongPassword: {
    orNewPassword: 'This password is wrong. If you do not know it, choose a new one below.',
    passwordOnly: 'This password is wrong. Check it and try again.'
  },
  staySignedIn: 'Stay signed in on this device',
  continueLink: 'Continue',
  linkExpired: 'This link is invalid or has expired. Each link works once. Please request a new one.',
  addressTaken: 'Another account now uses this e-mail address.',
  crossSite: 'This request came from another site and was rejected. Please open the link from the e-mail ' +
    'again.',
  malformed: 'A field is empty or too long. The link code begins with “lkl_”. Please check it and try ' +
    'again.',
  unexpectedError: id => `Something went wrong. If it happens again, give the operator this ID: ${id}`
}

export default english
