const escapeSequence = (code: number) => `\x1b[${code}m`

const paint = (code: number, isColored: boolean) => (text: string): string =>
  isColored ? `${escapeSequence(code)}${text}${escapeSequence(0)}` : text

export type Palette = ReturnType<typeof createPalette>

/** Functions that colour a text; without colour they return it as it is. */
export const createPalette = (isColored: boolean) => ({
  bold: paint(1, isColored),
  dim: paint(2, isColored),
  red: paint(31, isColored),
  green: paint(32, isColored),
  yellow: paint(33, isColored),
  cyan: paint(36, isColored)
})

// Control characters, line separators, and characters that change the direction of text.
const unprintable = /[\p{Cc}\p{Zl}\p{Zp}\u202a-\u202e\u2066-\u2069]/gu

/** Makes control characters visible, because a client could steer the terminal with them (CWE-150). */
export const escapeControls = (text: string): string => text.replaceAll(unprintable, character =>
  `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`)
