import { brandColors, brandStyle, contrast, defaultColors } from '../../src/http/brand-colors.ts'
import { t } from '../support/test.ts'

const grounds = { light: ['#f6f5f1', '#ffffff', '#faf9f6'], dark: ['#111216', '#191b20', '#15171b'] } as const
const themes = ['light', 'dark'] as const

/** Colours of every hue and brightness, and the ends of the scale. */
const samples = ['#000000', '#ffffff', '#808080', '#777777', '#767676']
for (let red = 0; red < 256; red += 51) {
  for (let green = 0; green < 256; green += 51) {
    for (let blue = 0; blue < 256; blue += 51) {
      samples.push('#' + [red, green, blue].map(value => value.toString(16).padStart(2, '0')).join(''))
    }
  }
}

t.test('the contrast of two colours is that of WCAG', async t => {
  t.equal(contrast('#000000', '#ffffff'), 21)
  t.equal(contrast('#777777', '#777777'), 1)
  t.equal(contrast('#777777', '#ffffff').toFixed(2), '4.48')
  t.equal(contrast('#ffffff', '#0000ff').toFixed(2), '8.59')
})

t.test('every brand has readable buttons, links and focus rings in both themes', async t => {
  for (const color of [undefined, ...samples]) {
    const colors = brandColors(color)
    for (const theme of themes) {
      const { brand, onBrand, hover, accent, wash } = colors[theme]
      if (color !== undefined) t.equal(brand, color)
      const contrasts = [
        contrast(onBrand, brand), contrast(onBrand, hover),
        ...[...grounds[theme], wash].map(ground => contrast(accent, ground))
      ]
      if (Math.min(...contrasts) < 4.5) t.fail(`${String(color)} in ${theme}: ${contrasts.join()}`)
      if (hover === brand) t.fail(`${String(color)} in ${theme} does not change under the pointer`)
    }
  }
})

t.test('a colour that can be read is the accent as it is, and another one is darker or lighter', async t => {
  t.equal(brandColors('#1d4ed8').light.accent, '#1d4ed8')
  t.ok(contrast('#000000', brandColors('#ffd400').light.accent) < contrast('#000000', '#ffd400'), 'darker')
  t.ok(contrast('#000000', brandColors('#003366').dark.accent) > contrast('#000000', '#003366'), 'lighter')
})

t.test('the style sheet gets the colours of both themes, and nothing without a brand', async t => {
  t.equal(brandStyle(undefined), '')
  t.equal(brandColors(undefined), defaultColors)
  const style = brandStyle('#ffd400')
  t.match(
    style,
    /^\n:root\{--brand:#ffd400;--on-brand:#000000;--brand-hover:#[0-9a-f]{6};--brass:#[0-9a-f]{6};--focus:#/
  )
  t.match(style, /@media \(prefers-color-scheme:dark\)\{:root\{--brand:#ffd400;/)
  const [light = '', dark = ''] = style.split('@media')
  t.match(light, /\.button\{border-color:#[0-9a-f]{6}\}/, 'a bright button has an edge on a white card')
  t.match(dark, /\.button\{border-color:transparent\}/)
})
