import type { MailedLinkTexts } from './mailed-links.ts'

const german: MailedLinkTexts = {
  pages: {
    email_verification: {
      title: 'Bestätigen',
      introduction: 'Sie haben einen Link aus einer E-Mail geöffnet. Bitte bestätigen Sie hier, was in der ' +
        'E-Mail beschrieben ist.',
      button: 'Bestätigen',
      doneTitle: 'Bestätigt',
      doneText: 'Vielen Dank. Ihre Bestätigung wurde übernommen.'
    },
    password_reset: {
      title: 'Passwort wählen',
      introduction: 'Wählen Sie ein neues Passwort für Ihr Konto. Sie werden dabei auf allen Geräten ' +
        'abgemeldet.',
      button: 'Passwort speichern',
      doneTitle: 'Ihr Passwort ist gespeichert',
      doneText: 'Melden Sie sich ab jetzt mit diesem Passwort an.'
    },
    magic_link: {
      title: 'Anmelden',
      introduction: 'Mit diesem Link melden Sie sich auf diesem Gerät an. Er funktioniert nur einmal.',
      button: 'Anmelden',
      doneTitle: 'Sie sind angemeldet',
      doneText: 'Sie können zur Anwendung zurückkehren.'
    }
  },
  token: 'Code aus dem Link',
  tokenHint: 'Kopieren Sie ihn aus dem Link in der E-Mail: Er steht hinter „#token=“.',
  newPassword: 'Neues Passwort',
  newPasswordHint: minLength => `Mindestens ${minLength} Zeichen. Gut geeignet ist ein Satz aus mehreren ` +
    'Wörtern.',
  currentPassword: 'Passwort',
  confirmWithPassword: 'Mit diesem Passwort bestätigen',
  confirmWithNewPassword: 'Passwort speichern und bestätigen',
  proof: {
    anyPassword: 'Noch ein Schritt: Jemand hat sich mit dieser Adresse registriert und ein Passwort ' +
      'gewählt. Wenn Sie das waren, geben Sie dieses Passwort ein. Wenn Sie das nicht waren oder das ' +
      'Passwort nicht kennen, wählen Sie ein neues. Es ersetzt das alte, und alle anderen werden ' +
      'abgemeldet.',
    newPassword: 'Noch ein Schritt: Wählen Sie ein Passwort für Ihr Konto. Alle anderen werden dann ' +
      'abgemeldet.',
    password: 'Noch ein Schritt: Geben Sie das Passwort des Kontos ein, dessen Adresse geändert werden ' +
      'soll. Oder melden Sie sich in diesem Browser mit diesem Konto an und öffnen Sie den Link noch ' +
      'einmal.',
    session: 'Noch ein Schritt: Melden Sie sich in diesem Browser mit dem Konto an, dessen Adresse ' +
      'geändert werden soll. Öffnen Sie dann den Link noch einmal. Wenn Sie dieses Konto nicht kennen, ' +
      'schließen Sie die Seite. Es ändert sich dann nichts.'
  },
  wrongPassword: {
    orNewPassword: 'Dieses Passwort ist falsch. Wenn Sie es nicht kennen, wählen Sie unten ein neues.',
    passwordOnly: 'Dieses Passwort ist falsch. Bitte prüfen Sie es und versuchen Sie es noch einmal.'
  },
  staySignedIn: 'Auf diesem Gerät angemeldet bleiben',
  continueLink: 'Weiter',
  linkExpired: 'Dieser Link ist ungültig oder abgelaufen. Jeder Link funktioniert nur einmal. Bitte ' +
    'fordern Sie einen neuen an.',
  addressTaken: 'Diese E-Mail-Adresse gehört inzwischen zu einem anderen Konto.',
  crossSite: 'Diese Anfrage kam von einer anderen Website und wurde abgelehnt. Bitte öffnen Sie den Link ' +
    'aus der E-Mail noch einmal.',
  malformed: 'Eine Eingabe fehlt oder ist zu lang. Der Code aus dem Link beginnt mit „lkl_“. Bitte prüfen ' +
    'Sie ihn und versuchen Sie es noch einmal.',
  unexpectedError: id =>
    `Etwas ist schiefgegangen. Falls es noch einmal geschieht, nennen Sie dem Betreiber diese Kennung: ${id}`
}

export default german
