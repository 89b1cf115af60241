import type { PageTexts } from './words.ts'

const german: PageTexts = {
  pages: {
    email_verification: {
      title: 'Bestätigen',
      lead: 'Sie haben einen Link aus einer E-Mail geöffnet. Bestätigen Sie hier, was in ihr steht.',
      button: 'Bestätigen',
      done: 'Bestätigt',
      told: 'Was in der E-Mail steht, ist erledigt.'
    },
    password_reset: {
      title: 'Passwort wählen',
      lead: 'Es wird das Ihres Kontos. Wo immer Sie angemeldet sind, werden Sie abgemeldet.',
      button: 'Passwort setzen',
      done: 'Ihr Passwort ist gesetzt',
      told: 'Von jetzt an melden Sie sich damit an.'
    },
    magic_link: {
      title: 'Anmelden',
      lead: 'Sie haben einen Link geöffnet, der Sie auf diesem Gerät anmeldet, ein Mal.',
      button: 'Anmelden',
      done: 'Sie sind angemeldet',
      told: 'Sie können in der Anwendung fortfahren, aus der Sie kommen.'
    }
  },
  token: 'Code des Links',
  tokenHint: 'Er steht hinter „#token=“ in der Adresse dieser Seite oder im Link der E-Mail.',
  password: 'Neues Passwort',
  passwordHint: least => `Mindestens ${least} Zeichen. Am besten ist ein Satz aus mehreren Wörtern.`,
  currentPassword: 'Passwort',
  confirmWithPassword: 'Mit diesem Passwort bestätigen',
  confirmWithNewPassword: 'Dieses Passwort setzen und bestätigen',
  proof: {
    either: 'Noch ein Schritt: Jemand hat sich mit dieser Adresse registriert und ein Passwort gesetzt. Wenn Sie das waren, geben Sie dieses Passwort ein. Wenn nicht, oder wenn Sie es nicht kennen, wählen Sie ein neues: Es ersetzt das alte, und alle anderen werden abgemeldet.',
    newPassword: 'Noch ein Schritt: Wählen Sie ein Passwort für Ihr Konto. Alle anderen werden damit abgemeldet.',
    password: 'Noch ein Schritt: Geben Sie das Passwort des Kontos ein, dessen Adresse sich ändern soll. Oder melden Sie sich in diesem Browser bei diesem Konto an und öffnen Sie den Link noch einmal.',
    session: 'Noch ein Schritt: Melden Sie sich in diesem Browser bei dem Konto an, dessen Adresse sich ändern soll. Öffnen Sie dann den Link noch einmal. Wenn Sie kein solches Konto kennen, schließen Sie diese Seite: Es ändert sich dann nichts.'
  },
  wrongPassword: {
    orNew: 'Dieses Passwort ist falsch. Wenn Sie es nicht kennen, wählen Sie unten ein neues.',
    only: 'Dieses Passwort ist falsch. Prüfen Sie es und versuchen Sie es noch einmal.'
  },
  reveal: 'Passwort anzeigen',
  remember: 'Auf diesem Gerät angemeldet bleiben',
  onward: 'Weiter',
  expired: 'Dieser Link gilt nicht mehr: Er wurde schon benutzt, ist zu alt, oder wofür er war, hat sich geändert. Fordern Sie einen neuen an.',
  taken: 'Diese E-Mail-Adresse gehört inzwischen zu einem anderen Konto.',
  rejected: 'Dieses Passwort wird nicht angenommen:',
  reasons: {
    too_short: least => `Es hat weniger als ${least} Zeichen.`,
    too_long: () => 'Es hat mehr als 256 Zeichen.',
    too_common: () => 'Es gehört zu denen, die zuerst probiert werden.',
    breached: () => 'Es ist aus einem Datenleck anderswo bekannt.',
    contains_email: () => 'Es enthält Ihre E-Mail-Adresse oder einen Teil davon.',
    contains_name: () => 'Es enthält Ihren Namen.',
    contains_service: () => 'Es enthält den Namen dieses Dienstes.'
  },
  tooMany: when => `Aus Ihrem Netz kamen zu viele Anfragen. Versuchen Sie es ${when} noch einmal.`,
  busy: 'Gerade ist zu viel zu tun. Es ist nichts geschehen; versuchen Sie es gleich noch einmal.',
  foreign: 'Das kam von einer fremden Seite und wurde nicht ausgeführt. Öffnen Sie den Link aus der E-Mail noch einmal.',
  malformed: 'Hier fehlt etwas, oder etwas ist zu lang. Der Code des Links beginnt mit „lkl_“.',
  fault: id => `Hier ist etwas schiefgegangen. Falls es wieder geschieht, nennen Sie dem Betreiber diese Nummer: ${id}`,
  unreachable: 'Der Dienst war nicht zu erreichen. Es ist nichts verloren; versuchen Sie es gleich noch einmal.'
}

export default german
