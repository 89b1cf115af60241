import type { PageTexts } from './words.ts'

const english: PageTexts = {
  pages: {
    email_verification: {
      title: 'Confirm',
      lead: 'You have opened a link from an e-mail. Confirm here what it says.',
      button: 'Confirm',
      done: 'Confirmed',
      told: 'What the e-mail says is done.'
    },
    password_reset: {
      title: 'Choose a password',
      lead: 'It will be the one of your account. Wherever you are signed in, you will be signed out.',
      button: 'Set the password',
      done: 'Your password is set',
      told: 'From now on you sign in with it.'
    },
    magic_link: {
      title: 'Sign in',
      lead: 'You have opened a link that signs you in on this device, once.',
      button: 'Sign in',
      done: 'You are signed in',
      told: 'You can go on in the application that you came from.'
    }
  },
  token: 'Code of the link',
  tokenHint: 'It stands behind “#token=” in the address of this page, or in the link of the e-mail.',
  password: 'New password',
  passwordHint: least => `At least ${least} characters. A phrase of several words is best.`,
  currentPassword: 'Password',
  confirmWithPassword: 'Confirm with this password',
  confirmWithNewPassword: 'Set this password and confirm',
  proof: {
    either: 'One more step: someone signed up with this address and set a password. If it was you, enter that password. If not, or if you do not know it, choose a new one: it replaces the old one and signs out everybody else.',
    newPassword: 'One more step: choose a password for your account. Everybody else will be signed out.',
    password: 'One more step: enter the password of the account whose address is to change. Or sign in to that account in this browser, and open the link again.',
    session: 'One more step: in this browser, sign in to the account whose address is to change. Then open the link again. If you know of no such account, close this page: nothing changes.'
  },
  wrongPassword: {
    orNew: 'This password is wrong. If you do not know it, choose a new one below.',
    only: 'This password is wrong. Check it and try again.'
  },
  reveal: 'Show the password',
  remember: 'Stay signed in on this device',
  onward: 'Continue',
  expired: 'This link is not good any more: it was used before, is too old, or what it was for has changed. Ask for another one.',
  taken: 'Meanwhile another account has this e-mail address.',
  rejected: 'This password is not accepted:',
  reasons: {
    too_short: least => `it has fewer than ${least} characters`,
    too_long: () => 'it has more than 256 characters',
    too_common: () => 'it is one of those that are tried first',
    breached: () => 'it is known from a data breach elsewhere',
    contains_email: () => 'it contains your e-mail address, or a part of it',
    contains_name: () => 'it contains your name',
    contains_service: () => 'it contains the name of this service'
  },
  tooMany: when => `Too many requests came from your network. Try again ${when}.`,
  busy: 'There is too much to do just now. Nothing has happened; try again in a moment.',
  foreign: 'This came from a foreign page, and was not carried out. Open the link from the e-mail once more.',
  malformed: 'Something is missing here, or too long. The code of the link begins with “lkl_”.',
  fault: id => `Something went wrong here. If it happens again, tell the operator this number: ${id}`,
  unreachable: 'The service could not be reached. Nothing is lost; try again in a moment.'
}

export default english
