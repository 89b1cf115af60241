import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import PostalMime from 'postal-mime'
import { freePort } from '../../src/database/embedded/server.ts'
import type { Certificate } from './certificates.ts'
import { waitUntil } from './polling.ts'
import { moduleFile, nodeOptions } from './program.ts'
import type { Rule, SmtpSettings, ServerMessage } from './smtp-server.ts'
import type { Teardown } from './teardown.ts'

export interface ReceivedMail {
  /** The sender and the recipient are those of the envelope. */
  from: string
  to: string
  subject: string
  text: string
  html: string
  /** The headers by their names in lower case. */
  headers: Record<string, string>
  messageId: string
  /** The link in a line of its own, and the token in it. */
  link: string | undefined
  token: string
  raw: string
  /** The user who signed in to the server, and whether the connection used TLS. */
  user: string | null
  isSecure: boolean
}

export interface SmtpServer {
  url: string
  /** Waits for the next mail to an address that no call has returned yet. */
  mailTo: (address: string) => Promise<ReceivedMail>
  /** All mails so far, in the order in which they came. */
  all: () => ReceivedMail[]
  /** Waits until this many mails have arrived. */
  total: (count: number) => Promise<ReceivedMail[]>
  /**
   * Answers mails to an address this many times with a text. The address `*` stands for every address, and
   * `AUTH` for the sign-in. The answer `cut` hangs up when the mail has arrived.
   */
  answer: (to: string, answer: string, times?: number) => Promise<void>
  /** Kills the server, and waits until its process has ended. */
  kill: () => Promise<void>
  /** Starts a killed server again, with the same settings. */
  start: () => Promise<void>
  /** Suspends the server: it accepts connections but says nothing. `thaw` resumes it. */
  freeze: () => void
  thaw: () => void
}

/**
 * Starts a mail server, which stops with the test. If it speaks TLS and is given no certificate, it has one
 * that no client trusts.
 */
export async function smtpServer (
  t: Teardown,
  { login, xoauth2, tls, certificate }:
    Pick<SmtpSettings, 'login' | 'xoauth2' | 'tls'> & { certificate?: Certificate } = {}
): Promise<SmtpServer> {
  const port = await freePort()
  const mails: ReceivedMail[] = []
  const read = new Set<ReceivedMail>()
  let child: ChildProcess
  let parsing = Promise.resolve()

  const waitForMessage = async (matches: (message: ServerMessage) => boolean) =>
    await new Promise<void>((resolve, reject) => {
      const events = {
        message: (message: ServerMessage) => {
          if (matches(message)) end(resolve)
        },
        exit: () => end(() => reject(new Error('the mail server ended')))
      }
      const end = (then: () => void) => {
        child.off('message', events.message).off('exit', events.exit)
        then()
      }
      child.on('message', events.message).on('exit', events.exit)
    })
  async function start () {
    child = fork(
      moduleFile('test/support/smtp-server.ts'),
      [JSON.stringify({ port, login, xoauth2, tls, ...certificate })],
      { stdio: ['ignore', 'ignore', 'inherit', 'ipc'], execArgv: [...nodeOptions] }
    )
    child.on('message', (message: ServerMessage) => {
      if ('mail' in message) {
        parsing = parsing.then(async () => {
          mails.push(await received(message.mail))
        })
      }
    })
    await waitForMessage(message => 'ready' in message)
  }
  async function tell (rule: Rule) {
    child.send(rule)
    await waitForMessage(message => 'known' in message)
  }
  async function kill () {
    if (child.exitCode !== null || child.signalCode !== null) return
    child.kill('SIGKILL')
    await once(child, 'close')
  }
  const waitForMail = async <T>(what: string, find: () => T | undefined): Promise<T> => await waitUntil(
    () => `${what}; there are ${mails.map(({ to, subject }) => `${to}: ${subject}`).join(', ') || 'none'}`,
    find
  )

  await start()
  t.teardown(kill)
  const signIn = xoauth2 ? [xoauth2.user] : login ? [login.user, login.password] : []
  const userinfo = signIn.map(encodeURIComponent).join(':') + (signIn.length > 0 ? '@' : '')
  return {
    url: `${tls === 'from the start' ? 'smtps' : 'smtp'}://${userinfo}127.0.0.1:${port}`,
    async mailTo (address) {
      const mail = await waitForMail(
        `no mail to ${address}`,
        () => mails.find(mail => mail.to === address && !read.has(mail))
      )
      read.add(mail)
      return mail
    },
    all: () => [...mails],
    total: async count =>
      await waitForMail(`not ${count} mails`, () => (mails.length >= count ? [...mails] : undefined)),
    answer: async (to, answer, times = -1) => await tell({ to, answer, times }),
    kill,
    start,
    freeze: () => {
      child.kill('SIGSTOP')
    },
    thaw: () => {
      child.kill('SIGCONT')
    }
  }
}

async function received ({
  from,
  to: [to = ''],
  raw,
  user,
  isSecure
}: Extract<ServerMessage, { mail: unknown }>['mail']): Promise<ReceivedMail> {
  const {
    subject = '',
    text = '',
    html = '',
    messageId = '',
    headers
  } = await PostalMime.parse(Buffer.from(raw, 'latin1'))
  const [link] = /^https?:\/\/\S+#token=\S+$/m.exec(text) ?? []
  return {
    from,
    to,
    subject,
    text,
    html,
    headers: Object.fromEntries(headers.map(({ key, value }) => [key, value])),
    messageId,
    link,
    token: link?.split('#token=')[1] ?? '',
    raw,
    user,
    isSecure
  }
}
