import type { Language } from '../../../src/http/language.ts'

const en = {
  continueTo: (name: string) => `Continue to ${name}`,
  leavingTitle: 'Continue',
  leavingText: 'If nothing happens, press the button.',
  signedInTitle: 'You are signed in',
  signedInText: 'You can close this page or return to the application.',
  consentTitle: (name: string) => `Allow ${name} to use your account?`,
  unverified: 'This application registered itself. The operator has not checked its name.',
  account: 'Account',
  destination: 'You will return to',
  asksFor: 'The application will be able to:',
  allow: 'Allow',
  cancel: 'Cancel',
  scopes: {
    openid: 'Recognize you when you come back',
    profile: 'See your name and your username',
    email: 'See your email address',
    offline_access: 'Stay signed in, even after you sign out in this browser'
  } as Record<string, string>,
  useResource: (resource: string) => `Use ${resource} for you`,
  signOutTitle: 'Sign out?',
  signOutText: 'You will also be signed out of the applications that you opened in this browser.',
  signOut: 'Sign out',
  staySignedIn: 'Stay signed in',
  signedOutTitle: 'You are signed out',
  signedOutText: 'You can close this page.',
  signInAgain: 'Sign in again'
}

const de: typeof en = {
  continueTo: name => `Weiter zu ${name}`,
  leavingTitle: 'Weiter',
  leavingText: 'Wenn nichts geschieht, klicken Sie auf die Schaltfläche.',
  signedInTitle: 'Sie sind angemeldet',
  signedInText: 'Sie können diese Seite schließen oder zur Anwendung zurückkehren.',
  consentTitle: name => `Darf ${name} Ihr Konto verwenden?`,
  unverified: 'Diese Anwendung hat sich selbst registriert. Der Betreiber hat ihren Namen nicht geprüft.',
  account: 'Konto',
  destination: 'Sie kehren zurück zu',
  asksFor: 'Die Anwendung kann dann:',
  allow: 'Erlauben',
  cancel: 'Abbrechen',
  scopes: {
    openid: 'Sie beim nächsten Besuch wiedererkennen',
    profile: 'Ihren Namen und Ihren Benutzernamen sehen',
    email: 'Ihre E-Mail-Adresse sehen',
    offline_access: 'Angemeldet bleiben, auch wenn Sie sich in diesem Browser abmelden'
  },
  useResource: resource => `${resource} in Ihrem Namen benutzen`,
  signOutTitle: 'Abmelden?',
  signOutText: 'Sie werden auch von den Anwendungen abgemeldet, die Sie in diesem Browser geöffnet haben.',
  signOut: 'Abmelden',
  staySignedIn: 'Angemeldet bleiben',
  signedOutTitle: 'Sie sind abgemeldet',
  signedOutText: 'Sie können diese Seite schließen.',
  signInAgain: 'Erneut anmelden'
}

/** The texts of consent, sign-out, and the pages between this service and an application. */
export const decisionTexts: Record<Language, typeof en> = { en, de }
