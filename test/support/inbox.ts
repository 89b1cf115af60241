import type { Service } from './app.ts'
import { waitUntil } from './polling.ts'

/** A mail as the log shows it, if the service sends none. */
export interface Shown { kind: string, to: string, language: string, link: string | undefined, token: string }

const read = new WeakSet()

/** Waits for the next mail of a kind to an address that no call has returned yet. */
export async function mailTo (
  { allLogs }: Pick<Service, 'allLogs'>,
  to: string,
  kind: string
): Promise<Shown> {
  return await waitUntil(`no mail of ${kind} to ${to}`, () => {
    for (const line of allLogs()) {
      const { mail } = line as { mail?: Omit<Shown, 'token'> }
      if (mail?.to !== to || mail.kind !== kind || read.has(line)) continue
      read.add(line)
      return { ...mail, token: mail.link?.split('#token=')[1] ?? '' }
    }
    return undefined
  })
}

/** The kinds of all mails shown so far to an address. */
export const mailsTo = ({ allLogs }: Pick<Service, 'allLogs'>, to: string) =>
  allLogs().flatMap(({ mail }) =>
    mail !== undefined && (mail as Shown).to === to ? [(mail as Shown).kind] : []
  )
