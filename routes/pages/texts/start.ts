import type { Language } from '../../../src/http/language.ts'

const en = {
  title: 'Latchkey is running',
  development: 'Development',
  mailsBelow: 'Emails are shown below instead of being sent, because SMTP_URL is not set.',
  firstSteps: 'First steps',
  running: 'The service is running',
  issuer: 'Issuer:',
  administrator: 'Create an administrator',
  administratorText: 'Run this in another terminal, in this folder. It prints a link that sets the ' +
    'password. Administrators use the API below /v1/admin.',
  pages: 'See the pages for your users',
  connect: 'Connect your application',
  connectText: 'Libraries for OAuth and OpenID Connect need the client ID, the secret, PKCE and the issuer:',
  lastMails: 'Recent emails',
  noMails: 'None since the service started. Sign up or request a sign-in link.',
  notSent: 'Not sent',
  reference: 'Reference',
  docs: 'API reference',
  document: 'OpenAPI document',
  metadata: 'Server metadata',
  openLink: 'Open the link',
  asHtml: 'Show as HTML',
  back: 'Back to the start page',
  inThisLanguage: 'English'
}

const de: typeof en = {
  title: 'Latchkey läuft',
  development: 'Entwicklung',
  mailsBelow: 'E-Mails werden nicht verschickt, sondern unten angezeigt, weil SMTP_URL nicht gesetzt ist.',
  firstSteps: 'Erste Schritte',
  running: 'Der Dienst läuft',
  issuer: 'Issuer:',
  administrator: 'Legen Sie einen Administrator an',
  administratorText: 'Führen Sie das in einem anderen Terminal in diesem Ordner aus. Sie bekommen einen ' +
    'Link, mit dem das Passwort festgelegt wird. Administratoren verwenden die API unter /v1/admin.',
  pages: 'Sehen Sie sich die Seiten für Ihre Benutzer an',
  connect: 'Verbinden Sie Ihre Anwendung',
  connectText: 'Bibliotheken für OAuth und OpenID Connect brauchen Client-ID, Secret, PKCE und Issuer:',
  lastMails: 'Letzte E-Mails',
  noMails: 'Keine seit dem Start. Registrieren Sie sich oder fordern Sie einen Anmeldelink an.',
  notSent: 'Nicht verschickt',
  reference: 'Referenz',
  docs: 'API-Referenz',
  document: 'OpenAPI-Dokument',
  metadata: 'Metadaten des Servers',
  openLink: 'Link öffnen',
  asHtml: 'Als HTML anzeigen',
  back: 'Zurück zur Startseite',
  inThisLanguage: 'Deutsch'
}

/** The texts of the start page of development. */
export const startTexts: Record<Language, typeof en> = { en, de }
