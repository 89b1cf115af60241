import { extname, join } from 'node:path'
import { packageFolder } from '../../src/package-folder.ts'

/** Whether this code was compiled to `dist/`; otherwise tsx runs it from source. */
export const isCompiled = extname(import.meta.url) === '.js'

/** The file that Node.js loads for a module, given the module's path in the source, such as `src/cli.ts`. */
export const moduleFile = (source: string) =>
  isCompiled ? join(packageFolder, 'dist', source.replace(/ts$/, 'js')) : join(packageFolder, source)

/** The options with which Node.js can load such a file. */
export const nodeOptions: readonly string[] = isCompiled ? [] : ['--import', import.meta.resolve('tsx')]

/** The command line, after `node`, that runs a module of this project as a program of its own. */
export const commandOf = (source: string): string[] => [...nodeOptions, moduleFile(source)]
