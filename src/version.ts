import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { packageFolder } from './package-folder.ts'

const manifest: unknown = JSON.parse(readFileSync(join(packageFolder, 'package.json'), 'utf8'))

/** The version of Latchkey, from package.json. */
export const version = String(Object(manifest).version)
