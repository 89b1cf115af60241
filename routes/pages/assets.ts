import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Config } from '../../src/config/config.ts'
import { assetVersion, logoPath } from '../../src/http/brand-logo.ts'
import { brandStyle } from '../../src/http/brand-colors.ts'
import { packageFolder } from '../../src/package-folder.ts'
import type { Typed } from '../typed.ts'

const folder = join(packageFolder, 'routes/pages/assets')

/** A file of the pages. Its URL contains a digest of its content, so that browsers may keep it for a year. */
export interface Asset { path: string, url: string, version: string, type: string, content: Buffer }

/** The script and the style sheet of the pages, and the logo of the brand. */
export interface PageAssets { script: Asset, style: Asset, logo: Asset | undefined }

function asset (path: string, type: string, content: Buffer): Asset {
  const version = assetVersion(content)
  return { path, url: `${path}?v=${version}`, version, type, content }
}

/** Returns the assets of the pages, with the colours and the logo of the brand. */
export function pageAssets ({ color, logo }: Pick<Config['brand'], 'color' | 'logo'>): PageAssets {
  const style = readFileSync(join(folder, 'page.css'), 'utf8') + brandStyle(color)
  return {
    script: asset('/assets/page.js', 'text/javascript; charset=utf-8', readFileSync(join(folder, 'page.js'))),
    style: asset('/assets/page.css', 'text/css; charset=utf-8', Buffer.from(style)),
    logo: logo && asset(logoPath, logo.type, logo.content)
  }
}

// An SVG is a document that can have scripts. They must not run if someone opens the logo by itself.
const contentSecurityPolicy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox"

/** Serves the script and the style of the pages, and the logo. */
const routes: Typed<{ assets: PageAssets }> = async (app, { assets }) => {
  for (const each of Object.values(assets) as Array<Asset | undefined>) {
    if (each === undefined) continue
    const { path, version, type, content } = each
    app.get<{ Querystring: { v?: unknown } }>(path, { schema: { hide: true } }, async ({ query }, reply) => {
      // A page of another version of the service gets this version's content, and must not keep it.
      const isCurrent = query.v === version
      return reply.headers({
        'content-type': type,
        'cache-control': isCurrent ? 'public, max-age=31536000, immutable' : 'no-store',
        ...path === logoPath && { 'content-security-policy': contentSecurityPolicy }
      }).send(content)
    })
  }
}

export default routes
