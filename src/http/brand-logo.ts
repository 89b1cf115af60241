import { createHash } from 'node:crypto'

/** The route of the logo of the brand. */
export const logoPath = '/assets/logo'

/** The version in the URL of a logo: a digest of its content, so that browsers may keep it. */
export const logoVersion = (content: Buffer): string =>
  createHash('sha256').update(content).digest('base64url').slice(0, 16)

/** The URL of a logo under the URL or the path of the service. */
export const logoUrl = (base: string, content: Buffer): string =>
  `${base}${logoPath}?v=${logoVersion(content)}`
