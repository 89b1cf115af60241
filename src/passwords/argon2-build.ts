import { existsSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { ConfigError } from '../config/config-error.ts'
import { withVariable } from '../config/environment.ts'
import { packageFolder } from '../package-folder.ts'

export type Argon2 = typeof import('argon2')
export type Argon2Build = 'avx512' | 'avx2' | 'prebuilt'
export type Argon2BuildSetting = Argon2Build | 'auto'

/**
 * The argon2 package with the binary of one build, and a warning for each better build that does not work.
 */
export interface LoadedArgon2 { name: Argon2Build, argon2: Argon2, buildWarnings: string[] }

const require = createRequire(import.meta.url)

// The fastest build first. The value is the processor flag that the build needs, as Linux names it.
const requiredFlags = { avx512: 'avx512f', avx2: 'avx2', prebuilt: undefined } as const
// The folder carries the package's version, because an upgrade of the package may fix a fault in the binary.
const { version } = require('argon2/package.json')
const compiledBuilds = join(packageFolder, `native/argon2-${version}`)

/**
 * Returns the builds to try, in order, given the processor's flags and the builds that exist. Throws a
 * ConfigError if the configured build cannot be used.
 */
export function candidateBuilds (
  setting: Argon2BuildSetting, flags: ReadonlySet<string>, exists: (build: Argon2Build) => boolean
): Argon2Build[] {
  const obstacle = (build: Argon2Build) => {
    const flag = requiredFlags[build]
    if (flag === undefined) return undefined
    if (!flags.has(flag)) return `this processor does not report ${flag}`
    return exists(build) ? undefined : 'it does not exist; create it with npm run build:argon2'
  }
  const names = Object.keys(requiredFlags) as Argon2Build[]
  if (setting === 'auto') return names.filter(build => obstacle(build) === undefined)
  const reason = obstacle(setting)
  if (reason !== undefined) throw unusable(setting, reason)
  return [setting]
}

const unusable = (build: Argon2Build, reason: string) =>
  new ConfigError([`ARGON2_BUILD is ${build}, but ${reason}`])

/**
 * Loads the configured build of argon2; `auto` loads the fastest build in `folder` that works on this
 * machine. Throws a ConfigError if the configured build does not work.
 */
export async function loadArgon2 (
  setting: Argon2BuildSetting, folder = compiledBuilds
): Promise<LoadedArgon2> {
  const buildWarnings: string[] = []
  for (const name of candidateBuilds(setting, processorFlags(), build => existsSync(`${folder}/${build}`))) {
    try {
      const argon2 = requireBuild(name, folder)
      // An unsupported instruction would kill the process here, which is why the flags are checked first.
      if (!await passesTestVector(argon2)) throw new Error('its hashes are wrong')
      return { name, argon2, buildWarnings }
    } catch (error) {
      const { message } = error as Error
      if (setting !== 'auto') throw unusable(setting, `it does not work: ${message}`)
      buildWarnings.push(`the ${name} build of argon2 does not work: ${message}`)
    }
  }
  throw new Error(buildWarnings.join('; '))
}

function requireBuild (build: Argon2Build, folder: string): Argon2 {
  // The package chooses its binary when it is loaded, and this variable is the only way to name another one.
  delete require.cache[require.resolve('argon2')]
  if (build === 'prebuilt') return require('argon2')
  return withVariable('ARGON2_PREBUILD', `${folder}/${build}`, () => require('argon2'))
}

// The test vector of Argon2id in RFC 9106 section 5.3.
const testVector = {
  password: Buffer.alloc(32, 1),
  options: {
    type: 2,
    memoryCost: 32,
    timeCost: 3,
    parallelism: 4,
    salt: Buffer.alloc(16, 2),
    secret: Buffer.alloc(8, 3),
    associatedData: Buffer.alloc(12, 4),
    raw: true
  },
  tag: '0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659'
} as const

async function passesTestVector ({ hash }: Argon2): Promise<boolean> {
  const tag = await hash(testVector.password, testVector.options)
  return tag.toString('hex') === testVector.tag
}

/** The processor features that the kernel lets programs use; empty if the system does not report them. */
function processorFlags (): Set<string> {
  if (process.platform !== 'linux' || process.arch !== 'x64') return new Set()
  try {
    return new Set(/^flags\s*:(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1]?.trim().split(' '))
  } catch {
    return new Set()
  }
}
