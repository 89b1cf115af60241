import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/**
 * The folder with Latchkey's package.json, migrations and other files that are not compiled. Modules run from
 * `src/` during development and from `dist/src/` otherwise, so their own path does not say how far up it is.
 */
export const packageFolder = findPackage(dirname(fileURLToPath(import.meta.url)))

function findPackage (folder: string): string {
  const manifest = join(folder, 'package.json')
  if (existsSync(manifest) && Object(JSON.parse(readFileSync(manifest, 'utf8'))).name === 'latchkey') return folder
  const parent = dirname(folder)
  if (parent === folder) throw new Error('cannot find the package.json of Latchkey')
  return findPackage(parent)
}
