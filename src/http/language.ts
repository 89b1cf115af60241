import Negotiator from 'negotiator'
import { languages, type Language } from '../mail/outbox.ts'

/** The language of ours that an `Accept-Language` header prefers; undefined where it names none. */
export function languageOf (header: string | undefined): Language | undefined {
  if (header === undefined) return undefined
  const [best] = new Negotiator({ headers: { 'accept-language': header.slice(0, 256) } }).languages([...languages])
  return languages.find(language => language === best)
}
