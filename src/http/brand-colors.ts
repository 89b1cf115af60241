/** The colours of a brand on one theme, as `#rrggbb`. */
export interface ThemeColors {
  /** The background of buttons: the colour of the brand as it is. */
  brand: string
  /** Text on `brand` and on `hover`. */
  onBrand: string
  hover: string
  /** The edge of buttons: the accent if the brand hardly differs from a card, and else the brand itself. */
  edge: string
  /** Links, focus rings and edges: the brand, darker or lighter until it can be read on the page. */
  accent: string
  /** A background for text in `accent`. */
  wash: string
}

export interface BrandColors { light: ThemeColors, dark: ThemeColors }

/** The colours without a configured brand, as in the style sheet of the pages. */
export const defaultColors: BrandColors = {
  light: {
    brand: '#17181c',
    onBrand: '#ffffff',
    hover: '#33353d',
    edge: '#17181c',
    accent: '#8a5a12',
    wash: '#f6ecd9'
  },
  dark: {
    brand: '#e9c079',
    onBrand: '#1b1508',
    hover: '#f3d08f',
    edge: '#e9c079',
    accent: '#e9c079',
    wash: '#33291a'
  }
}

/** The backgrounds of the pages: the window, a card, and what is sunk into a card. */
const grounds = {
  light: ['#f6f5f1', '#ffffff', '#faf9f6'],
  dark: ['#111216', '#191b20', '#15171b']
} as const
const white = '#ffffff'
const black = '#000000'

/** WCAG 2.2 success criterion 1.4.3. */
const minTextContrast = 4.5
/** WCAG 2.2 success criterion 1.4.11: what shows that a control is one. */
const minEdgeContrast = 3
const hoverShare = 0.15
const washShare = 0.1
const steps = 50

/**
 * Returns the colours for a brand. Text on the brand, and the accent on each background of the pages, have a
 * contrast of at least 4.5 in both themes.
 */
export function brandColors (color: string | undefined): BrandColors {
  if (color === undefined) return defaultColors
  return { light: themeOf(color, 'light'), dark: themeOf(color, 'dark') }
}

function themeOf (brand: string, theme: keyof BrandColors): ThemeColors {
  // One of both always suffices: their contrasts multiply to 21.
  const onBrand = contrast(brand, white) >= minTextContrast ? white : black
  const away = mix(brand, onBrand === white ? black : white, hoverShare)
  // Nothing is darker than black or lighter than white.
  const hover = away === brand ? mix(brand, onBrand, hoverShare) : away
  const { accent, wash } = accentOf(brand, theme)
  const edge = contrast(brand, grounds[theme][1]) < minEdgeContrast ? accent : brand
  return { brand, onBrand, hover, edge, accent, wash }
}

/** The first shade of a brand that can be read on every background of a theme, and on its own wash. */
function accentOf (brand: string, theme: keyof BrandColors): Pick<ThemeColors, 'accent' | 'wash'> {
  const [, card] = grounds[theme]
  const end = theme === 'light' ? black : white
  const shades = Array.from({ length: steps + 1 }, (_, step) => {
    const accent = mix(brand, end, step / steps)
    return { accent, wash: mix(card, accent, washShare) }
  })
  const isReadable = ({ accent, wash }: typeof shades[number]) =>
    [...grounds[theme], wash].every(ground => contrast(accent, ground) >= minTextContrast)
  return shades.find(isReadable) ?? { accent: end, wash: card }
}

const channels = (color: string) => [1, 3, 5].map(start => Number.parseInt(color.slice(start, start + 2), 16))

/** A colour with a share of another one. */
function mix (color: string, other: string, share: number): string {
  const others = channels(other)
  return '#' + channels(color)
    .map((value, index) => Math.round(value + ((others[index] ?? 0) - value) * share))
    .map(value => value.toString(16).padStart(2, '0'))
    .join('')
}

/** The relative luminance of WCAG 2.2. */
function luminance (color: string): number {
  const [red = 0, green = 0, blue = 0] = channels(color)
    .map(value => value / 255)
    .map(value => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue
}

/** The contrast ratio of two colours, from 1 to 21 (WCAG 2.2). */
export function contrast (one: string, other: string): number {
  const [darker = 0, lighter = 0] = [luminance(one), luminance(other)].sort((a, b) => a - b)
  return (lighter + 0.05) / (darker + 0.05)
}

/**
 * Returns the rules that replace the default colours in the style sheet of the pages: none without a
 * configured colour. A button that could be overlooked on its card gets an edge.
 */
export function brandStyle (color: string | undefined): string {
  if (color === undefined) return ''
  const { light, dark } = brandColors(color)
  return `\n${rulesOf(light)}\n@media (prefers-color-scheme:dark){${rulesOf(dark)}}\n`
}

const rulesOf = ({ brand, onBrand, hover, edge, accent, wash }: ThemeColors) =>
  `:root{--brand:${brand};--on-brand:${onBrand};--brand-hover:${hover};--brass:${accent};` +
  `--focus:${accent};--brass-wash:${wash}}.button{border-color:${edge === brand ? 'transparent' : edge}}`
