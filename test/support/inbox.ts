import { setTimeout as pause } from 'node:timers/promises'
import type { Service } from './app.ts'

/** A mail as it is shown where none is sent. */
export interface Shown { kind: string, to: string, language: string, link: string | undefined, token: string }

const read = new WeakSet()

/**
 * The next mail of a kind to an address that was not read before, of those that the service shows in its log;
 * waits for it.
 */
export async function mailTo (
  { together }: Pick<Service, 'together'>,
  to: string,
  kind: string
): Promise<Shown> {
  for (const end = Date.now() + 30_000; ; await pause(10)) {
    for (const line of together()) {
      const { mail } = line as { mail?: Omit<Shown, 'token'> }
      if (mail?.to !== to || mail.kind !== kind || read.has(line)) continue
      read.add(line)
      return { ...mail, token: mail.link?.split('#token=')[1] ?? '' }
    }
    if (Date.now() > end) throw new Error(`no mail of ${kind} to ${to}`)
  }
}

/** The kinds of all mails shown so far to an address. */
export const mailsTo = ({ together }: Pick<Service, 'together'>, to: string) =>
  together().flatMap(({ mail }) =>
    mail !== undefined && (mail as Shown).to === to ? [(mail as Shown).kind] : []
  )
