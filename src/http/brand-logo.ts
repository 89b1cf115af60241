import { createHash } from 'node:crypto'

/** The route of the logo of the brand. */
export const logoPath = '/assets/logo'

/** The version in the URL of a file: a digest of its content, so that browsers may keep it. */
export const assetVersion = (content: Buffer): string =>
  createHash('sha256').update(content).digest('base64url').slice(0, 16)

/** The URL of a logo under the URL of the service. */
export const logoUrl = (issuer: string, content: Buffer): string =>
  `${issuer}${logoPath}?v=${assetVersion(content)}`
