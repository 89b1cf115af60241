import type { MailedLinkTexts } from './mailed-links.ts'

const english: MailedLinkTexts = {
  purposes: {
    registration: {
      title: 'Confirm your address', before: 'You confirm that', after: 'is yours.', button: 'Confirm'
    },
    email_verification: {
      title: 'Confirm your address', before: 'You confirm that', after: 'is yours.', button: 'Confirm'
    },
    email_change: {
      title: 'Use a new address', before: 'Your account will use', after: 'from now on.', button: 'Confirm'
    },
    email_undo: {
      title: 'Undo the change of address',
      before: 'Your account will use',
      after: 'again. All devices will be signed out, and you will get an email with a link to choose a new ' +
        'password.',
      button: 'Undo the change'
    },
    password_reset: {
      title: 'Choose a new password', before: 'for', after: '', button: 'Save password'
    },
    magic_link: { title: 'Sign in', before: 'as', after: '', button: 'Sign in' }
  },
  kinds: {
    email_verification: {
      title: 'Confirm your address',
      doneTitle: 'Confirmed',
      doneText: 'Thank you. Your address is confirmed.',
      invalidText: lives => `Links that confirm an address work once and expire after ${lives}. This one ` +
        'was already used, has expired, or was replaced by a newer one.'
    },
    password_reset: {
      title: 'Choose a new password',
      doneTitle: 'Your password is saved',
      doneText: 'Sign in with it. All your devices are signed out.',
      // An invitation lives longer than a reset.
      invalidText: () => 'A link that sets a password works once. This one was already used or has expired.'
    },
    magic_link: {
      title: 'Sign in',
      doneTitle: 'You are signed in',
      doneText: 'You can return to the application.',
      invalidText: lives => `Sign-in links work once and expire after ${lives}. This one was already used ` +
        'or has expired.'
    }
  },
  link: 'Link from the email',
  linkHint: 'Paste the whole link, or the part after “#token=”.',
  open: 'Continue',
  newPassword: 'New password',
  newPasswordHint: minLength => `At least ${minLength} characters. Three or four random words work well.`,
  signsOut: 'You will be signed out on all your devices.',
  removesPassword: 'This address was not confirmed yet. When you sign in with this link, the password that ' +
    'was set at sign-up stops working, in case someone else set it. You can choose a new one afterwards.',
  firstPassword: 'Set your password',
  currentPassword: 'Password',
  confirmWithPassword: 'Confirm with this password',
  confirmWithNewPassword: 'Save password and confirm',
  proof: {
    anyPassword: 'Someone signed up with this address and set a password. If it was you, enter that ' +
      'password. If it was not you, or if you do not know the password, choose a new one. The new password ' +
      'replaces the old one and signs out everyone else.',
    newPassword: 'Choose a password for your account. Everyone else will be signed out.',
    password: 'Enter the password of the account whose address will change. Or sign in to that account in ' +
      'this browser, and open the link again.',
    session: 'In this browser, sign in to the account whose address will change. Then open the link again. ' +
      'If you do not know that account, close this page. Nothing will change.'
  },
  wrongPassword: {
    orNewPassword: 'This password is wrong. If you do not know it, choose a new one below.',
    passwordOnly: 'This password is wrong. Check it and try again.'
  },
  staySignedIn: 'Stay signed in on this device',
  continueLink: 'Continue',
  signInLink: 'Go to sign-in',
  invalidTitle: 'This link no longer works',
  email: 'Email address',
  newLink: 'Email me a new link',
  confirmedTitle: 'Already confirmed',
  confirmedText: 'is confirmed. You do not need the link any more.',
  addressTaken: 'Another account now uses this email address.',
  crossSite: 'This request came from another site and was rejected. Please open the link from the email ' +
    'again.',
  malformed: 'A field is empty or too long, or this is not the link from our email. The link in the email ' +
    'contains a code that begins with “lkl_”. Please check what you entered and try again.'
}

export default english
