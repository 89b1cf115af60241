import type { RenderedMail } from './rendering.ts'

/** A mail that was not sent, because no mail server is configured. */
export interface ShownMail extends RenderedMail {
  id: number
  /** When it was rendered. */
  at: Date
}

/** The last mails that were not sent, for the start page of development. They are kept in memory alone. */
export interface ShownMails {
  add: (mail: RenderedMail) => void
  /** The mails, the latest one first. */
  list: () => readonly ShownMail[]
  find: (id: number) => ShownMail | undefined
}

const maxMails = 20

/** Keeps the last mails. */
export function keepShownMails (): ShownMails {
  let mails: ShownMail[] = []
  let count = 0
  return {
    add (mail) {
      count++
      mails = [{ ...mail, id: count, at: new Date() }, ...mails].slice(0, maxMails)
    },
    list: () => mails,
    find: id => mails.find(mail => mail.id === id)
  }
}
