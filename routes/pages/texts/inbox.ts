import type { Language } from '../../../src/http/language.ts'

/** What was sent: a link that signs in, sets a new password, or confirms the address. */
export type SentKind = 'sign-in' | 'password' | 'sign-up'

const en = {
  title: 'Check your inbox',
  yourAddress: 'the address that you entered',
  texts: {
    'sign-in': ['If', 'belongs to an account, we sent a link that signs you in.'],
    password: ['If', 'belongs to an account, we sent a link to set a new password.'],
    'sign-up': ['We sent an email to', 'Open the link in it to continue.']
  } as Record<SentKind, [before: string, after: string]>,
  lifetime: (time: string) => `The link works once and expires in ${time}.`,
  missing: 'No email? Check your spam folder and the address below. Then send the email again:',
  notSent: 'Emails are not sent in development.',
  openMails: 'Open the emails on the start page',
  email: 'Email address',
  again: 'Send again'
}

const de: typeof en = {
  title: 'Sehen Sie in Ihrem Postfach nach',
  yourAddress: 'der eingegebenen Adresse',
  texts: {
    'sign-in': ['Wenn es zu', 'ein Konto gibt, haben wir einen Link zum Anmelden geschickt.'],
    password: ['Wenn es zu', 'ein Konto gibt, haben wir einen Link für ein neues Passwort geschickt.'],
    'sign-up': ['Wir haben eine E-Mail geschickt an', 'Öffnen Sie den Link darin, um fortzufahren.']
  },
  lifetime: time => `Der Link ist ${time} lang gültig und funktioniert nur einmal.`,
  missing: 'Nichts angekommen? Prüfen Sie den Spam-Ordner und diese Adresse. Senden Sie dann die E-Mail ' +
    'noch einmal:',
  notSent: 'Bei der Entwicklung werden E-Mails nicht verschickt.',
  openMails: 'Öffnen Sie die E-Mails auf der Startseite',
  email: 'E-Mail-Adresse',
  again: 'Noch einmal senden'
}

/** The texts of the page after a mail was sent. */
export const inboxTexts: Record<Language, typeof en> = { en, de }
