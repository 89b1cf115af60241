import { readFileSync, statSync } from 'node:fs'

// Parsers for what the pages and mails show of the operator's brand.

export type LogoType = 'image/png' | 'image/jpeg' | 'image/webp' | 'image/svg+xml'

/** The image of the brand, with the type of its content. */
export interface Logo { content: Buffer, type: LogoType }

const pngSignature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a])
const jpegSignature = Buffer.from([0xff, 0xd8, 0xff])
const ascii = (content: Buffer, start: number, end: number) => content.toString('latin1', start, end)

/** Whether a file is an image of a format. */
const formats: Record<LogoType, (content: Buffer) => boolean> = {
  'image/png': content => content.subarray(0, 8).equals(pngSignature),
  'image/jpeg': content => content.subarray(0, 3).equals(jpegSignature),
  'image/webp': content => ascii(content, 0, 4) === 'RIFF' && ascii(content, 8, 12) === 'WEBP',
  'image/svg+xml': isSvg
}
const types = Object.keys(formats) as LogoType[]

const maxLogoKib = 256

/** Reads the file of a logo. Its content decides about its type, because its name may be wrong. */
export function parseLogo (path: string): Logo {
  const content = readImage(path)
  const type = types.find(type => formats[type](content))
  if (type === undefined) throw new Error('must be a file with an SVG, PNG, JPEG or WebP image')
  return { content, type }
}

function readImage (path: string): Buffer {
  try {
    const { size } = statSync(path)
    if (size <= maxLogoKib * 1_024) return readFileSync(path)
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : String(error)
    throw new Error(`cannot be read: ${code}`)
  }
  throw new Error(`must be a file of at most ${maxLogoKib} KiB`)
}

/** Whether a text is an XML document whose root is `svg`. A prolog and comments may precede the root. */
function isSvg (content: Buffer): boolean {
  const text = content.toString('utf8').replace(/^\uFEFF/, '')
  return !text.includes('\0') &&
    /^\s*(?:<\?xml[^>]*\?>\s*)?(?:(?:<!--(?:(?!-->)[^])*-->|<!DOCTYPE\s[^>[]*>)\s*)*<svg[\s/>]/.test(text)
}

/** Parses a colour of CSS in hexadecimal digits. Returns six digits in lower case. */
export function parseColor (text: string): string {
  const [, digits] = /^#([0-9a-f]{3}|[0-9a-f]{6})$/i.exec(text) ?? []
  if (digits === undefined) throw new Error('must be a colour such as #17a or #1177aa')
  const six = digits.length === 6 ? digits : digits.replaceAll(/./g, '$&$&')
  return `#${six.toLowerCase()}`
}
