import type { Language } from '../../../src/http/language.ts'

const en = {
  signIn: 'Sign in',
  toContinueTo: 'to continue to',
  identifier: 'Email address or username',
  email: 'Email address',
  password: 'Password',
  newPasswordHint: (minLength: number) =>
    `At least ${minLength} characters. Three or four random words work well.`,
  name: 'Name (optional)',
  remember: 'Stay signed in',
  forgotLink: 'Forgot password?',
  emailLink: 'Email me a sign-in link',
  resendVerification: 'Send the confirmation email again',
  newHere: 'New here?',
  signUpLink: 'Create an account',
  signUp: 'Create your account',
  signUpButton: 'Create account',
  haveAccount: 'Already have an account?',
  forgot: 'Choose a new password',
  forgotText: 'We will email you a link to set a new password.',
  forgotButton: 'Email me a link',
  backToSignIn: 'Back to sign-in'
}

const de: typeof en = {
  signIn: 'Anmelden',
  toContinueTo: 'und weiter zu',
  identifier: 'E-Mail-Adresse oder Benutzername',
  email: 'E-Mail-Adresse',
  password: 'Passwort',
  newPasswordHint: minLength =>
    `Mindestens ${minLength} Zeichen. Gut geeignet sind drei oder vier zufällige Wörter.`,
  name: 'Name (optional)',
  remember: 'Angemeldet bleiben',
  forgotLink: 'Passwort vergessen?',
  emailLink: 'Anmeldelink per E-Mail erhalten',
  resendVerification: 'Bestätigungsmail noch einmal senden',
  newHere: 'Neu hier?',
  signUpLink: 'Konto erstellen',
  signUp: 'Konto erstellen',
  signUpButton: 'Konto erstellen',
  haveAccount: 'Sie haben schon ein Konto?',
  forgot: 'Neues Passwort wählen',
  forgotText: 'Wir schicken Ihnen einen Link, mit dem Sie ein neues Passwort wählen können.',
  forgotButton: 'Link per E-Mail erhalten',
  backToSignIn: 'Zurück zur Anmeldung'
}

/** The texts of the pages to sign in, to sign up, and to ask for a new password. */
export const signInTexts: Record<Language, typeof en> = { en, de }
