import Negotiator from 'negotiator'

/** The languages of mails and pages. The first one is the default. */
export const languages = ['en', 'de'] as const
export type Language = typeof languages[number]

const maxHeaderLength = 256

/** The language of the first tag (RFC 5646) that is one of ours; undefined if none is. */
export function languageOfTags (tags: string): Language | undefined {
  const primary = tags.split(' ').map(tag => tag.split('-')[0]?.toLowerCase())
  const known = primary.find(name => languages.some(language => language === name))
  return languages.find(language => language === known)
}

/** The language that an `Accept-Language` header prefers; undefined if it names none of ours. */
export function languageOf (header: string | undefined): Language | undefined {
  if (header === undefined) return undefined
  const headers = { 'accept-language': header.slice(0, maxHeaderLength) }
  const [best] = new Negotiator({ headers }).languages([...languages])
  return languages.find(language => language === best)
}
