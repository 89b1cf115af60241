import { loadArgon2, type Argon2BuildSetting, type LoadedArgon2 } from './argon2-build.ts'

/** The parameters m (in KiB), t and p of RFC 9106 section 3.1. */
export interface Argon2Options { memoryKib: number, timeCost: number, parallelism: number }

const loadedBuilds = new Map<Argon2BuildSetting, Promise<LoadedArgon2>>()
let selectedBuild: Argon2BuildSetting = 'auto'

async function loadSelectedBuild (): Promise<LoadedArgon2> {
  const loaded = loadedBuilds.get(selectedBuild) ?? loadArgon2(selectedBuild)
  loadedBuilds.set(selectedBuild, loaded)
  return await loaded
}

/**
 * Makes this process hash with the given build of argon2. Throws a ConfigError if the build does not work.
 */
export async function selectBuild (build: Argon2BuildSetting): Promise<LoadedArgon2> {
  selectedBuild = build
  return await loadSelectedBuild()
}

/** Returns the PHC string of a new Argon2id hash (RFC 9106). `secret` is the pepper. */
export async function hash (
  password: string | Buffer, { memoryKib, timeCost, parallelism }: Argon2Options, secret?: Buffer
): Promise<string> {
  const { argon2 } = await loadSelectedBuild()
  const options = {
    type: argon2.argon2id,
    memoryCost: memoryKib,
    timeCost,
    parallelism,
    ...(secret && { secret })
  }
  return await argon2.hash(password, options)
}

/** Returns whether the PHC string is a hash of the password, made with this `secret` or without one. */
export async function verify (hash: string, password: string, secret?: Buffer): Promise<boolean> {
  const { argon2 } = await loadSelectedBuild()
  return await argon2.verify(hash, password, secret && { secret })
}

/** Returns whether the hash took less work (memory × passes) than a new hash with these options takes. */
export function needsRehash (hash: string, { memoryKib, timeCost }: Argon2Options): boolean {
  const { type, version, memory, passes } =
    parsePhcString(hash) ?? { type: '', version: 0, memory: 0, passes: 0 }
  return type !== 'id' || version < 0x13 || memory * passes < memoryKib * timeCost
}

// Limits for hashes that another system made, or that were made with an earlier configuration.
const maxMemoryKib = 131_072
const maxWorkKib = 524_288
const maxLanes = 16

/** What a hash costs to evaluate. `exceededLimit` says why the hash must not be evaluated. */
export interface EvaluationCost { memoryKib: number, exceededLimit: string | undefined }

/** Returns the cost of evaluating a hash; undefined if the text is not a PHC string of argon2. */
export function evaluationCost (hash: string, options: Argon2Options): EvaluationCost | undefined {
  const parameters = parsePhcString(hash)
  if (!parameters) return undefined
  const { memory, passes, lanes } = parameters
  const memoryLimit = Math.max(maxMemoryKib, options.memoryKib)
  const workLimit = Math.max(maxWorkKib, options.memoryKib * options.timeCost)
  const laneLimit = Math.max(maxLanes, options.parallelism)
  const isWithinLimits = memory <= memoryLimit && memory * passes <= workLimit && lanes <= laneLimit
  const limits = `${memoryLimit} KiB of memory, ${workLimit} KiB of memory × passes, or ${laneLimit} lanes`
  return { memoryKib: memory, exceededLimit: isWithinLimits ? undefined : `it takes more than ${limits}` }
}

/** Does this fraction of the work of a new hash, and discards the result. */
export async function performWork (fraction: number, options: Argon2Options): Promise<void> {
  const memoryKib = Math.round(options.memoryKib * fraction)
  // RFC 9106 section 3.1 demands at least 8 KiB for each lane.
  if (memoryKib >= 8 * options.parallelism) await hash('', { ...options, memoryKib })
}

const base64 = '[A-Za-z0-9+/]'
// A PHC string without a version is of version 16, of 2013. The salt has 8 bytes or more, the hash 16 to 128.
const phcString = new RegExp(
  '^\\$argon2(id|i|d)(?:\\$v=(16|19))?\\$m=(\\d{1,10}),t=(\\d{1,10}),p=(\\d{1,8})' +
  `(?:,(?:keyid|data)=${base64}{1,64}){0,2}\\$${base64}{11,172}\\$${base64}{22,171}$`
)

/** Returns the parameters that a PHC string names; undefined if RFC 9106 section 3.1 does not allow them. */
function parsePhcString (hash: string) {
  const [, type, version = '16', m, t, p] = phcString.exec(hash) ?? []
  const [memory, passes, lanes] = [Number(m), Number(t), Number(p)]
  if (type === undefined || passes < 1 || lanes < 1 || memory < 8 * lanes) return undefined
  return { type, version: Number(version), memory, passes, lanes }
}
