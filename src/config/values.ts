// Parsers for the text of environment variables. Each throws an Error whose message says what is allowed.

/** Parses a decimal integer from `min` to `max`. */
export const parseInteger = (min: number, max: number) => (text: string): number => {
  const number = Number(text)
  if (!/^\d+$/.test(text) || number < min || number > max) {
    throw new Error(`must be a whole number from ${min} to ${max}`)
  }
  return number
}

const secondsPerUnit = { s: 1, m: 60, h: 3_600, d: 86_400 }
type Unit = keyof typeof secondsPerUnit
const isUnit = (text: string | undefined): text is Unit => text !== undefined && text in secondsPerUnit

/** The longest duration that a timer of Node.js can count: 2³¹ milliseconds are 24.8 days. */
export const maxTimerDays = 24
const maxDays = 3_650

/** Parses a duration such as `15m` to seconds. */
export const parseDuration = ({ minSeconds = 1, maxDays: most = maxDays } = {}) => (text: string): number => {
  const [, count, unit] = /^(\d{1,9})([smhd])$/.exec(text) ?? []
  const seconds = isUnit(unit) ? Number(count) * secondsPerUnit[unit] : NaN
  if (!(seconds >= minSeconds) || seconds > most * secondsPerUnit.d) {
    throw new Error(`must be a time such as 30s, 15m, 12h or 7d, from ${minSeconds}s to ${most}d`)
  }
  return seconds
}

/** Parses `true` or `false`. */
export function parseBoolean (text: string): boolean {
  if (text !== 'true' && text !== 'false') throw new Error('must be true or false')
  return text === 'true'
}

/** Parses one word of a fixed set. */
export const parseWord = <const Word extends string>(...words: Word[]) => (text: string): Word => {
  const word = words.find(each => each === text)
  if (word === undefined) throw new Error(`must be one of ${words.join(', ')}`)
  return word
}

/** Parses a comma-separated list of words of a fixed set. */
export const parseWords = <const Word extends string>(...words: Word[]) => (text: string): Word[] => {
  const items = [...new Set(splitList(text))]
  const found = items.flatMap(item => words.find(each => each === item) ?? [])
  if (found.length < items.length) throw new Error(`must be some of ${words.join(', ')}, separated by commas`)
  return found
}

/**
 * Parses a namespace of claims: an absolute URI to which a name can be appended (RFC 7519 section 4.2).
 */
export function parseNamespace (text: string): string {
  if (!/^[a-z][a-z0-9+.-]*:[\x21-\x7e]{1,100}$/.test(text) || !URL.canParse(text) || !/[/#:]$/.test(text)) {
    throw new Error('must be a URI that ends with /, # or :, such as https://example.com/')
  }
  return text
}

/** Takes any text. */
export const parseText = (text: string): string => text

/** Splits a comma-separated list. Blanks around items and empty items do not count. */
export const splitList = (text: string): string[] =>
  text.split(',').map(item => item.trim()).filter(item => item !== '')

/** Parses a name that is shown to people. */
export function parseDisplayName (text: string): string {
  if (!/^[^\p{C}\p{Zl}\p{Zp}]{1,64}$/u.test(text)) throw new Error('must be 1 to 64 printable characters')
  return text
}

/** So many events in a window of so many seconds; `off` is no limit. */
export type Rate = 'off' | { count: number, window: number }

const rateRule = 'must be off, or a count and a time such as 300/1m'
const unitWithoutCount = /^([smhd])(?:ec|econd|in|inute|r|our|ay)?s?$/

/** Parses a rate such as `300/1m`, or `off`. */
export function parseRate (text: string): Rate {
  if (text === 'off') return 'off'
  const [count = '', window = ''] = text.split('/')
  if (!/^[1-9]\d{0,8}$/.test(count) || text.split('/').length !== 2) throw new Error(rateRule)
  const [, unit] = unitWithoutCount.exec(window) ?? []
  if (unit !== undefined) {
    throw new Error(`${rateRule}: write ${count}/1${unit} instead of ${count}/${window}`)
  }
  return { count: Number(count), window: parseDuration()(window) }
}

const keyBytes = 32

/** Parses keys of 32 bytes in base64, separated by commas. */
export function parseKeys (text: string): Buffer[] {
  const parts = splitList(text)
  const keys = parts.map(part => Buffer.from(part, 'base64'))
  const withoutPadding = (base64: string | undefined) => base64?.replace(/=+$/, '')
  const areWhole = keys.every((key, index) =>
    key.length === keyBytes && withoutPadding(key.toString('base64')) === withoutPadding(parts[index]))
  if (keys.length === 0 || !areWhole) {
    throw new Error('must be 32 bytes in base64 (make one with: openssl rand -base64 32)')
  }
  return keys
}

/** Whether a key has a pattern that no random key has: few different bytes, repetition or a constant step. */
export function isPatterned (key: Buffer): boolean {
  const hasPeriod = [1, 2, 3, 4, 5, 6, 7, 8].some(
    period => key.subarray(period).equals(key.subarray(0, -period))
  )
  const steps = new Set(key.subarray(1).map((byte, index) => byte - (key[index] ?? 0)))
  return hasPeriod || steps.size === 1 || new Set(key).size <= 4
}
