import type { MailedLinkTexts } from './mailed-links.ts'

const german: MailedLinkTexts = {
  purposes: {
    registration: {
      title: 'Adresse bestätigen',
      before: 'Sie bestätigen, dass',
      after: 'Ihre Adresse ist.',
      button: 'Bestätigen'
    },
    email_verification: {
      title: 'Adresse bestätigen',
      before: 'Sie bestätigen, dass',
      after: 'Ihre Adresse ist.',
      button: 'Bestätigen'
    },
    email_change: {
      title: 'Neue Adresse verwenden',
      before: 'Ihr Konto verwendet dann die Adresse',
      after: '.',
      button: 'Bestätigen'
    },
    email_undo: {
      title: 'Änderung der Adresse rückgängig machen',
      before: 'Ihr Konto verwendet dann wieder die Adresse',
      after: '. Alle Geräte werden abgemeldet, und Sie erhalten eine E-Mail, mit der Sie ein neues ' +
        'Passwort wählen können.',
      button: 'Änderung rückgängig machen'
    },
    password_reset: {
      title: 'Neues Passwort wählen', before: 'für', after: '', button: 'Passwort speichern'
    },
    magic_link: { title: 'Anmelden', before: 'als', after: '', button: 'Anmelden' }
  },
  kinds: {
    email_verification: {
      title: 'Adresse bestätigen',
      doneTitle: 'Bestätigt',
      doneText: 'Vielen Dank. Ihre Adresse ist bestätigt.',
      invalidText: lives => `Links zum Bestätigen einer Adresse sind ${lives} lang gültig und ` +
        'funktionieren nur einmal. Dieser wurde schon verwendet, ist abgelaufen oder wurde durch einen ' +
        'neueren ersetzt.'
    },
    password_reset: {
      title: 'Neues Passwort wählen',
      doneTitle: 'Ihr Passwort ist gespeichert',
      doneText: 'Melden Sie sich damit an. Alle Ihre Geräte sind abgemeldet.',
      invalidText: () => 'Ein Link für ein Passwort funktioniert nur einmal. Dieser wurde schon verwendet ' +
        'oder ist abgelaufen.'
    },
    magic_link: {
      title: 'Anmelden',
      doneTitle: 'Sie sind angemeldet',
      doneText: 'Sie können zur Anwendung zurückkehren.',
      invalidText: lives => `Anmeldelinks sind ${lives} lang gültig und funktionieren nur einmal. Dieser ` +
        'wurde schon verwendet oder ist abgelaufen.'
    }
  },
  link: 'Link aus der E-Mail',
  linkHint: 'Fügen Sie den ganzen Link ein oder den Teil hinter „#token=“.',
  open: 'Weiter',
  newPassword: 'Neues Passwort',
  newPasswordHint: minLength =>
    `Mindestens ${minLength} Zeichen. Gut geeignet sind drei oder vier zufällige Wörter.`,
  signsOut: 'Sie werden auf allen Geräten abgemeldet.',
  removesPassword: 'Diese Adresse wurde noch nicht bestätigt. Wenn Sie sich mit diesem Link anmelden, ' +
    'wird das Passwort ungültig, das bei der Registrierung gewählt wurde. Vielleicht war das jemand ' +
    'anderes. Danach können Sie ein neues wählen.',
  firstPassword: 'Passwort festlegen',
  currentPassword: 'Passwort',
  confirmWithPassword: 'Mit diesem Passwort bestätigen',
  confirmWithNewPassword: 'Passwort speichern und bestätigen',
  proof: {
    anyPassword: 'Jemand hat sich mit dieser Adresse registriert und ein Passwort gewählt. Wenn Sie das ' +
      'waren, geben Sie dieses Passwort ein. Wenn Sie das nicht waren oder das Passwort nicht kennen, ' +
      'wählen Sie ein neues. Es ersetzt das alte, und alle anderen Geräte werden abgemeldet.',
    newPassword: 'Wählen Sie ein Passwort für Ihr Konto. Alle anderen Geräte werden dann abgemeldet.',
    password: 'Geben Sie das Passwort des Kontos ein, dessen Adresse geändert werden soll. Oder melden ' +
      'Sie sich in diesem Browser mit diesem Konto an und öffnen Sie den Link noch einmal.',
    session: 'Melden Sie sich in diesem Browser mit dem Konto an, dessen Adresse geändert werden soll. ' +
      'Öffnen Sie dann den Link noch einmal. Wenn Sie dieses Konto nicht kennen, schließen Sie die ' +
      'Seite. Es ändert sich dann nichts.'
  },
  wrongPassword: {
    orNewPassword: 'Dieses Passwort ist falsch. Wenn Sie es nicht kennen, wählen Sie unten ein neues.',
    passwordOnly: 'Dieses Passwort ist falsch. Bitte prüfen Sie es und versuchen Sie es noch einmal.'
  },
  staySignedIn: 'Auf diesem Gerät angemeldet bleiben',
  continueLink: 'Weiter',
  signInLink: 'Zur Anmeldung',
  invalidTitle: 'Dieser Link funktioniert nicht mehr',
  email: 'E-Mail-Adresse',
  newLink: 'Neuen Link per E-Mail erhalten',
  confirmedTitle: 'Schon bestätigt',
  confirmedText: 'ist bestätigt. Sie brauchen den Link nicht mehr.',
  addressTaken: 'Diese E-Mail-Adresse gehört inzwischen zu einem anderen Konto.',
  crossSite: 'Diese Anfrage kam von einer anderen Website und wurde abgelehnt. Bitte öffnen Sie den Link ' +
    'aus der E-Mail noch einmal.',
  malformed: 'Eine Eingabe fehlt oder ist zu lang, oder das ist nicht der Link aus unserer E-Mail. Der ' +
    'Link in der E-Mail enthält einen Code, der mit „lkl_“ beginnt. Bitte prüfen Sie Ihre Eingabe ' +
    'und versuchen Sie es noch einmal.'
}

export default german
