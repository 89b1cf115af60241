import type { AuthorizationFault } from '../../../src/delegation/problems.ts'
import type { Language } from '../../../src/http/language.ts'
import type { PasswordReason } from '../../../src/passwords/problems.ts'

const en = {
  refused: 'That did not work',
  invalidCredentials: 'The email address, username or password is wrong. Check what you entered, or choose ' +
    'a new password with “Forgot password?”.',
  accountDisabled: 'This account is disabled. Please contact the operator of the service.',
  emailNotVerified: 'Your password is correct, but your email address is not confirmed yet. Open the link ' +
    'in the email that we sent you, or request a new one.',
  emailTaken: 'An account with this email address already exists. Sign in, or choose a new password ' +
    'with “Forgot password?”.',
  invalidEmail: 'Please enter an email address, such as name@example.com.',
  incomplete: 'A field is empty, too long, or has characters that are not allowed. Please check what ' +
    'you entered.',
  passwordRejected: 'This password cannot be used:',
  passwordReasons: {
    too_short: minLength => `It has fewer than ${minLength} characters.`,
    too_long: () => 'It has more than 256 characters.',
    too_common: () => 'It is one of the most common passwords.',
    breached: () => 'It was found in a data breach of another service.',
    contains_email: () => 'It contains your email address or a part of it.',
    contains_name: () => 'It contains your name or username.',
    contains_service: () => 'It contains the name of this service.'
  } satisfies Record<PasswordReason, (minLength: number) => string> as
    Record<PasswordReason, (minLength: number) => string>,
  tooManyTitle: 'Too many attempts',
  tooMany: (when: string) => `Please try again ${when}.`,
  unavailableTitle: 'Not available right now',
  unavailable: 'The service is not available right now. Please try again in a moment.',
  crossSite: 'This request came from another site and was rejected. Please fill in the form here.',
  notFoundTitle: 'Page not found',
  notFound: 'There is no page at this address. Check the address, or go back.',
  notAllowedTitle: 'This page cannot be opened this way',
  notAllowed: 'Please go back and start again.',
  expiredTitle: 'The sign-in took too long',
  expired: 'Please go back to the application and start again.',
  invalidRequestTitle: 'The application sent an invalid request',
  invalidRequest: 'You cannot sign in until the operator of the application fixes this:',
  authorizationFaults: {
    client_id_missing: 'The client_id is missing or repeated.',
    client_unknown: 'No client has this client_id.',
    redirect_uri_missing: 'The redirect_uri is missing or repeated.',
    redirect_uri_unregistered: 'The redirect_uri is not registered for this client.'
  } satisfies Record<AuthorizationFault, string>,
  unexpectedTitle: 'Something went wrong',
  unexpected: 'An unexpected error occurred. Please try again. If it happens again, send the operator the ' +
    'request ID below.',
  requestId: 'Request ID',
  home: 'Go to the start page'
}

const de: typeof en = {
  refused: 'Das hat leider nicht funktioniert',
  invalidCredentials: 'E-Mail-Adresse, Benutzername oder Passwort ist falsch. Prüfen Sie Ihre Eingaben ' +
    'oder wählen Sie über „Passwort vergessen?“ ein neues Passwort.',
  accountDisabled: 'Dieses Konto ist gesperrt. Bitte wenden Sie sich an den Betreiber des Dienstes.',
  emailNotVerified: 'Ihr Passwort stimmt, aber Ihre E-Mail-Adresse ist noch nicht bestätigt. Öffnen Sie ' +
    'den Link in der E-Mail, die wir Ihnen geschickt haben, oder fordern Sie eine neue an.',
  emailTaken: 'Mit dieser E-Mail-Adresse gibt es schon ein Konto. Melden Sie sich an oder wählen Sie ' +
    'über „Passwort vergessen?“ ein neues Passwort.',
  invalidEmail: 'Bitte geben Sie eine E-Mail-Adresse ein, zum Beispiel name@example.com.',
  incomplete: 'Ein Feld ist leer, zu lang oder enthält unzulässige Zeichen. Bitte prüfen Sie Ihre ' +
    'Eingaben.',
  passwordRejected: 'Dieses Passwort können Sie nicht verwenden:',
  passwordReasons: {
    too_short: minLength => `Es hat weniger als ${minLength} Zeichen.`,
    too_long: () => 'Es hat mehr als 256 Zeichen.',
    too_common: () => 'Es gehört zu den häufigsten Passwörtern.',
    breached: () => 'Es wurde in einem Datenleck eines anderen Dienstes gefunden.',
    contains_email: () => 'Es enthält Ihre E-Mail-Adresse oder einen Teil davon.',
    contains_name: () => 'Es enthält Ihren Namen oder Benutzernamen.',
    contains_service: () => 'Es enthält den Namen dieses Dienstes.'
  },
  tooManyTitle: 'Zu viele Versuche',
  tooMany: when => `Bitte versuchen Sie es ${when} noch einmal.`,
  unavailableTitle: 'Zurzeit nicht verfügbar',
  unavailable: 'Der Dienst ist gerade nicht verfügbar. Bitte versuchen Sie es gleich noch einmal.',
  crossSite: 'Diese Anfrage kam von einer anderen Website und wurde abgelehnt. Bitte füllen Sie das ' +
    'Formular hier aus.',
  notFoundTitle: 'Seite nicht gefunden',
  notFound: 'Unter dieser Adresse gibt es keine Seite. Prüfen Sie die Adresse oder gehen Sie zurück.',
  notAllowedTitle: 'Diese Seite lässt sich so nicht öffnen',
  notAllowed: 'Bitte gehen Sie zurück und beginnen Sie noch einmal.',
  expiredTitle: 'Die Anmeldung hat zu lange gedauert',
  expired: 'Bitte gehen Sie zur Anwendung zurück und beginnen Sie noch einmal.',
  invalidRequestTitle: 'Die Anwendung hat eine ungültige Anfrage gesendet',
  invalidRequest: 'Sie können sich erst anmelden, wenn der Betreiber der Anwendung diesen Fehler ' +
    'behoben hat:',
  authorizationFaults: {
    client_id_missing: 'Die client_id fehlt oder kommt mehrfach vor.',
    client_unknown: 'Es gibt keinen Client mit dieser client_id.',
    redirect_uri_missing: 'Die redirect_uri fehlt oder kommt mehrfach vor.',
    redirect_uri_unregistered: 'Die redirect_uri ist für diesen Client nicht registriert.'
  },
  unexpectedTitle: 'Etwas ist schiefgegangen',
  unexpected: 'Ein unerwarteter Fehler ist aufgetreten. Bitte versuchen Sie es noch einmal. Wenn er wieder ' +
    'auftritt, nennen Sie dem Betreiber die Anfrage-ID.',
  requestId: 'Anfrage-ID',
  home: 'Zur Startseite'
}

/** What pages say about failures. `when` is a delay in words, such as "in 30 seconds". */
export const failureTexts: Record<Language, typeof en> = { en, de }
