import type { Language } from '../../../src/http/language.ts'

const en = {
  ownName: 'English',
  error: 'Error',
  privacy: 'Privacy',
  terms: 'Terms',
  support: 'Help',
  or: 'or',
  show: 'Show',
  hide: 'Hide',
  thePassword: 'password'
}

const de: typeof en = {
  ownName: 'Deutsch',
  error: 'Fehler',
  privacy: 'Datenschutz',
  terms: 'Nutzungsbedingungen',
  support: 'Hilfe',
  or: 'oder',
  show: 'Anzeigen',
  hide: 'Verbergen',
  thePassword: 'Passwort'
}

/** The texts of the layout and of the form controls. */
export const layoutTexts: Record<Language, typeof en> = { en, de }
