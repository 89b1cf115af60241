import { buffer } from 'node:stream/consumers'
import { SMTPServer } from 'smtp-server'

// The program of a mail server, which smtp.ts starts as a process of its own. The server passes the mails
// that it gets to its parent process, which also tells it what to answer.

/** An answer to the next mails for an address. `cut` hangs up after the mail has arrived. */
export interface Rule { to: string, answer: string | 'cut', times: number }

/** If a login is set, the server requires it. With a certificate, the server speaks TLS. */
export interface SmtpSettings {
  port: number
  login?: { user: string; password: string }
  /** If set, the server offers only XOAUTH2, and accepts this token. */
  xoauth2?: { user: string; token: string }
  tls?: 'from the start' | 'when asked'
  key?: string
  cert?: string
}

export type ServerMessage =
  | { ready: true }
  | { known: Rule }
  | { mail: { from: string; to: string[]; raw: string; user: string | null; isSecure: boolean } }

const { port, login, xoauth2, tls, key, cert } = JSON.parse(process.argv[2] ?? '') as SmtpSettings
const rules: Rule[] = []
const tell = (told: ServerMessage) => { process.send?.(told) }

function ruleOf (to: string, isCut: boolean): Rule | undefined {
  const rule = rules.find(
    rule => (rule.to === to || rule.to === '*') && rule.times > 0 && (rule.answer === 'cut') === isCut
  )
  if (rule) rule.times--
  return rule
}

const refusal = (answer: string) =>
  Object.assign(new Error(answer.slice(4)), { responseCode: Number(answer.slice(0, 3)) })

const server = new SMTPServer({
  disabledCommands: tls === undefined ? ['STARTTLS'] : [],
  secure: tls === 'from the start',
  ...key !== undefined && cert !== undefined && { key, cert },
  authOptional: login === undefined && xoauth2 === undefined,
  ...xoauth2 && { authMethods: ['XOAUTH2'] },
  allowInsecureAuth: true,
  disableReverseLookup: true,
  closeTimeout: 0,
  onAuth (auth, _session, done) {
    const rule = ruleOf('AUTH', false)
    if (rule) {
      done(refusal(rule.answer))
    } else if (xoauth2 && auth.username === xoauth2.user && auth.accessToken === xoauth2.token) {
      done(null, { user: xoauth2.user })
    } else if (login && auth.username === login.user && auth.password === login.password) {
      done(null, { user: login.user })
    } else {
      done(refusal('535 5.7.8 Authentication failed'))
    }
  },
  onRcptTo ({ address }, _session, done) {
    const rule = ruleOf(address, false)
    done(rule ? refusal(rule.answer) : null)
  },
  onData (stream, session, done) {
    const { envelope: { mailFrom, rcptTo }, secure: isSecure } = session
    const to = rcptTo.map(({ address }) => address)
    buffer(stream).then(raw => {
      tell({
        mail: {
          from: mailFrom === false ? '' : mailFrom.address,
          to,
          raw: raw.toString('latin1'),
          user: session.user ?? null,
          isSecure
        }
      })
      const isCut = ruleOf(to[0] ?? '', true) !== undefined
      // The sender cannot know that the mail has arrived.
      if (isCut) {
        for (const connection of server.connections) {
          if (connection.id === session.id) connection._socket.destroy()
        }
      }
      if (!isCut) done(null)
    }, done)
  }
})
server.on('error', () => {})
process.on('message', (rule: Rule) => {
  rules.push({ ...rule, times: rule.times < 0 ? Infinity : rule.times })
  tell({ known: rule })
})
process.on('disconnect', () => process.exit(0))
server.listen(port, '127.0.0.1', () => tell({ ready: true }))
