import { existsSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { ConfigError } from '../config/config-error.ts'
import { withVariable } from '../config/environment.ts'
import { packageFolder } from '../package-folder.ts'

export type Argon2 = typeof import('argon2')
export type Build = 'avx512' | 'avx2' | 'prebuilt'
export type Wanted = Build | 'auto'

/** The package with the binary of one build, and why better ones were not taken. */
export interface Loaded { name: Build, argon2: Argon2, passedOver: string[] }

const require = createRequire(import.meta.url)

// The best first; and as Linux calls it, what of the processor a build needs.
const builds = { avx512: 'avx512f', avx2: 'avx2', prebuilt: undefined } as const
// Builds of another version of the package are none: a newer one may mend a fault.
const native = join(packageFolder, `native/argon2-${require('argon2/package.json').version}`)

/**
 * The builds to try in turn, given the processor's flags and the builds that are there. Throws a ConfigError
 * where the one that is wanted cannot be used.
 */
export function order (wanted: Wanted, flags: ReadonlySet<string>, there: (build: Build) => boolean): Build[] {
  const obstacle = (build: Build) => {
    const flag = builds[build]
    if (flag === undefined) return undefined
    if (!flags.has(flag)) return `this processor is not known to have ${flag}`
    return there(build) ? undefined : 'it is not there: make it with npm run build:argon2'
  }
  const names = Object.keys(builds) as Build[]
  if (wanted === 'auto') return names.filter(build => obstacle(build) === undefined)
  const reason = obstacle(wanted)
  if (reason !== undefined) throw unusable(wanted, reason)
  return [wanted]
}

const unusable = (build: Build, reason: string) => new ConfigError([`ARGON2_BUILD is ${build}, but ${reason}`])

/**
 * Loads the wanted build of argon2, by default the best of those in a folder that works here. Throws a ConfigError where
 * the one that is wanted does not.
 */
export async function load (wanted: Wanted, folder = native): Promise<Loaded> {
  const passedOver: string[] = []
  for (const name of order(wanted, processorFlags(), build => existsSync(`${folder}/${build}`))) {
    try {
      const argon2 = open(name, folder)
      // An instruction that the processor does not have would end the process here: hence the flags.
      if (!await isRight(argon2)) throw new Error('its hashes are wrong')
      return { name, argon2, passedOver }
    } catch (error) {
      const { message } = error as Error
      if (wanted !== 'auto') throw unusable(wanted, `it does not work: ${message}`)
      passedOver.push(`argon2's ${name} build does not work: ${message}`)
    }
  }
  throw new Error(passedOver.join('; '))
}

function open (build: Build, folder: string): Argon2 {
  // The package looks for its binary when it is loaded, and this is the only way to tell it another.
  delete require.cache[require.resolve('argon2')]
  return build === 'prebuilt' ? require('argon2') : withVariable('ARGON2_PREBUILD', `${folder}/${build}`, () => require('argon2'))
}

// RFC 9106 section 5.3.
const vector = {
  password: Buffer.alloc(32, 1),
  options: { type: 2, memoryCost: 32, timeCost: 3, parallelism: 4, salt: Buffer.alloc(16, 2), secret: Buffer.alloc(8, 3), associatedData: Buffer.alloc(12, 4), raw: true },
  tag: '0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659'
} as const

const isRight = async ({ hash }: Argon2) => (await hash(vector.password, vector.options)).toString('hex') === vector.tag

/** What the processor has and the kernel lets programs use; nothing where the system does not tell. */
function processorFlags (): Set<string> {
  if (process.platform !== 'linux' || process.arch !== 'x64') return new Set()
  try {
    return new Set(/^flags\s*:(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1]?.trim().split(' '))
  } catch {
    return new Set()
  }
}
