import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Config } from '../../src/config/config.ts'
import { assetVersion, logoPath } from '../../src/http/brand-logo.ts'
import { brandStyle } from '../../src/http/brand-colors.ts'
import { createContent, type Content } from '../../src/http/representation.ts'
import { packageFolder } from '../../src/package-folder.ts'
import type { Typed } from '../typed.ts'

const folder = join(packageFolder, 'routes/pages/assets')

/** A file of the pages. Its URL contains a digest of its content, so that browsers may keep it for a year. */
export interface Asset { path: string, url: string, version: string, content: Content }

/** The script and the style sheet of the pages, and the logo of the brand. */
export interface PageAssets { script: Asset, style: Asset, logo: Asset | undefined }

function asset (path: string, type: string, bytes: Buffer): Asset {
  const version = assetVersion(bytes)
  return { path, url: `${path}?v=${version}`, version, content: createContent(bytes, type) }
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
  const all = [assets.script, assets.style, ...assets.logo ? [assets.logo] : []]
  for (const { path, version, content } of all) {
    app.get<{ Querystring: { v?: unknown } }>(path, { schema: { hide: true } }, async (request, reply) => {
      const { body, encoding } = await content.select(request.headers['accept-encoding'])
      // A page of another version of the service gets this version's content, and must not keep it.
      const isCurrent = request.query.v === version
      if (encoding) reply.header('content-encoding', encoding)
      return reply.headers({
        'content-type': content.type,
        'cache-control': isCurrent ? 'public, max-age=31536000, immutable' : 'no-store',
        vary: 'accept-encoding',
        ...path === logoPath && { 'content-security-policy': contentSecurityPolicy }
      }).send(body)
    })
  }
  app.addHook('onReady', async () => {
    for (const { content } of all) await content.compress()
  })
}

export default routes
