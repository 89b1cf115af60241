import type { Language } from '../../../src/http/language.ts'

/** What was sent: a link that signs in, sets a new password, or confirms the address. */
export type SentKind = 'sign-in' | 'password' | 'sign-up'

const en = {
  title: 'Check your inbox',
  yourAddress: 'the address that you entered',
  texts: {
    'sign-in': ['If', 'belongs to an account, we sent a link that signs you in.'],
    password: ['If', 'belongs to an account, we sent a link to set a new password.'],
    'sign-up': ['We sent an email to', 'Open the link in it to finish.']
  } as Record<SentKind, [before: string, after: string]>,
  lifetime: (time: string) => `The link works once, and for ${time}.`,
  missing: 'Nothing there? Look in the spam folder, and check the address. Then ask again:',
  email: 'Email',
  again: 'Send again'
}

const de: typeof en = {
  title: 'Sehen Sie in Ihr Postfach',
  yourAddress: 'der eingegebenen Adresse',
  texts: {
    'sign-in': ['Wenn es zu', 'ein Konto gibt, haben wir einen Link zum Anmelden geschickt.'],
    password: ['Wenn es zu', 'ein Konto gibt, haben wir einen Link für ein neues Passwort geschickt.'],
    'sign-up': ['Wir haben eine E-Mail geschickt an', 'Öffnen Sie den Link darin, um fertig zu werden.']
  },
  lifetime: time => `Der Link funktioniert einmal und ${time} lang.`,
  missing: 'Nichts angekommen? Sehen Sie im Spam-Ordner nach, und prüfen Sie die Adresse. Dann noch einmal:',
  email: 'E-Mail-Adresse',
  again: 'Noch einmal senden'
}

/** The texts of the page after a mail was sent. */
export const inboxTexts: Record<Language, typeof en> = { en, de }
