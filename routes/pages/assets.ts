import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { packageFolder } from '../../src/package-folder.ts'
import type { Typed } from '../typed.ts'

const folder = join(packageFolder, 'routes/pages/assets')

function asset (name: string, type: string) {
  const content = readFileSync(join(folder, name))
  const version = createHash('sha256').update(content).digest('base64url').slice(0, 16)
  return { path: `/assets/${name}`, url: `/assets/${name}?v=${version}`, version, type, content }
}

/** What the pages load, and with which URLs: another content has another one. */
export const assets = { script: asset('page.js', 'text/javascript; charset=utf-8'), style: asset('page.css', 'text/css; charset=utf-8') }

/** Serves what the pages load. */
const routes: Typed = async (app) => {
  for (const { path, version, type, content } of Object.values(assets)) {
    app.get<{ Querystring: { v?: unknown } }>(path, { schema: { hide: true } }, async ({ query: { v } }, reply) =>
      // A page of another version of the service gets what there is here, this once.
      reply.headers({ 'content-type': type, 'cache-control': v === version ? 'public, max-age=31536000, immutable' : 'no-store' }).send(content))
  }
}

export default routes
