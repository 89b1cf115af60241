import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { packageFolder } from '../../src/package-folder.ts'
import type { Typed } from '../typed.ts'

const folder = join(packageFolder, 'routes/pages/assets')

/** An asset's URL contains a digest of its content, so that browsers may keep it for a year. */
function asset (name: string, type: string) {
  const content = readFileSync(join(folder, name))
  const version = createHash('sha256').update(content).digest('base64url').slice(0, 16)
  return { path: `/assets/${name}`, url: `/assets/${name}?v=${version}`, version, type, content }
}

export const assets = {
  script: asset('page.js', 'text/javascript; charset=utf-8'),
  style: asset('page.css', 'text/css; charset=utf-8')
}

/** Serves the script and the style of the pages. */
const routes: Typed = async (app) => {
  for (const { path, version, type, content } of Object.values(assets)) {
    app.get<{ Querystring: { v?: unknown } }>(path, { schema: { hide: true } }, async ({ query }, reply) => {
      // A page of another version of the service gets this version's content, and must not keep it.
      const isCurrent = query.v === version
      const cacheControl = isCurrent ? 'public, max-age=31536000, immutable' : 'no-store'
      return reply.headers({ 'content-type': type, 'cache-control': cacheControl }).send(content)
    })
  }
}

export default routes
