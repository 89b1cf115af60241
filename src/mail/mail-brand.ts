import type { Config } from '../config/config.ts'
import { brandColors, type BrandColors } from '../http/brand-colors.ts'
import { logoUrl } from '../http/brand-logo.ts'

/** What mails show of the brand. */
export interface MailBrand {
  name: string
  logoUrl: string | undefined
  colors: BrandColors
  supportUrl: string | undefined
}

// Mail programs show no SVG, and many show no WebP.
const shownTypes = ['image/png', 'image/jpeg']

/**
 * The brand as mails show it. A mail has the logo only if every mail program can load it: over https, from
 * this service. Its URL is the same in all mails, so it does not tell who opened one.
 */
export function mailBrand (
  { name, logo, color, supportUrl }: Config['brand'], { issuer }: Pick<Config, 'issuer'>
): MailBrand {
  const isShown = logo !== undefined && shownTypes.includes(logo.type) && issuer.startsWith('https:')
  return {
    name,
    logoUrl: isShown ? logoUrl(issuer, logo.content) : undefined,
    colors: brandColors(color),
    supportUrl
  }
}
