import Negotiator from 'negotiator'

/** The languages of mails and pages. The first one is the default. */
export const languages = ['en', 'de'] as const
export type Language = typeof languages[number]

const maxHeaderLength = 256

/** The language that an `Accept-Language` header prefers; undefined if it names none of ours. */
export function languageOf (header: string | undefined): Language | undefined {
  if (header === undefined) return undefined
  const headers = { 'accept-language': header.slice(0, maxHeaderLength) }
  const [best] = new Negotiator({ headers }).languages([...languages])
  return languages.find(language => language === best)
}
