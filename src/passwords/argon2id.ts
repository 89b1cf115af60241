import { load, type Loaded, type Wanted } from './argon2-build.ts'

export interface Argon2Options { memoryKib: number, timeCost: number, parallelism: number }

const loads = new Map<Wanted, Promise<Loaded>>()
let inUse: Wanted = 'auto'

async function loaded (): Promise<Loaded> {
  const known = loads.get(inUse) ?? load(inUse)
  loads.set(inUse, known)
  return await known
}

/** Has this process hash with a build of argon2 from now on, by default the best. Throws a ConfigError where it does not work. */
export async function use (wanted: Wanted): Promise<Loaded> {
  inUse = wanted
  return await loaded()
}

/** The PHC string of a new hash (RFC 9106), with a secret or without. */
export async function hash (password: string | Buffer, { memoryKib, timeCost, parallelism }: Argon2Options, secret?: Buffer): Promise<string> {
  const { argon2 } = await loaded()
  return await argon2.hash(password, { type: argon2.argon2id, memoryCost: memoryKib, timeCost, parallelism, ...secret && { secret } })
}

/** Whether the password is that of the PHC string, made with this secret or without. */
export const verify = async (hash: string, password: string, secret?: Buffer): Promise<boolean> =>
  await (await loaded()).argon2.verify(hash, password, secret && { secret })

/** Whether the hash took less work than one with these options would. */
export function outdated (hash: string, { memoryKib, timeCost }: Argon2Options): boolean {
  const { kind, v, m, t } = parameters(hash) ?? { kind: '', v: 0, m: 0, t: 0 }
  return kind !== 'id' || v < 0x13 || m * t < memoryKib * timeCost
}

// Of hashes that were made elsewhere, or with parameters that are not in use any more.
const mostMemoryKib = 131_072
const mostWork = 524_288
const mostLanes = 16

/** What the PHC string's hash costs: its memory, and why it is not evaluated; undefined for what is no hash of argon2. */
export function cost (hash: string, { memoryKib, timeCost, parallelism }: Argon2Options): { memoryKib: number, excess: string | undefined } | undefined {
  const found = parameters(hash)
  if (!found) return undefined
  const { m, t, p } = found
  const most = [Math.max(mostMemoryKib, memoryKib), Math.max(mostWork, memoryKib * timeCost), Math.max(mostLanes, parallelism)] as const
  const excess = m > most[0] || m * t > most[1] || p > most[2] ? `its memory is over ${most[0]} KiB, memory × passes over ${most[1]}, or lanes over ${most[2]}` : undefined
  return { memoryKib: m, excess }
}

/** Does this part of the work of a new hash, and nothing else. */
export async function spend (part: number, { memoryKib, ...options }: Argon2Options): Promise<void> {
  const rest = Math.round(memoryKib * part)
  if (rest >= 8 * options.parallelism) await hash('', { ...options, memoryKib: rest })
}

const base64 = '[A-Za-z0-9+/]'
// Without a version it is that of 2013. The salt has 8 bytes or more, the hash 16 to 128.
const form = new RegExp(`^\\$argon2(id|i|d)(?:\\$v=(16|19))?\\$m=(\\d{1,10}),t=(\\d{1,10}),p=(\\d{1,8})(?:,(?:keyid|data)=${base64}{1,64}){0,2}\\$${base64}{11,172}\\$${base64}{22,171}$`)

/** The kind, version, memory in KiB, passes and lanes that a PHC string names. */
function parameters (hash: string) {
  const [, kind, v = '16', m, t, p] = form.exec(hash) ?? []
  const numbers = { v: Number(v), m: Number(m), t: Number(t), p: Number(p) }
  return kind === undefined || numbers.t < 1 || numbers.p < 1 || numbers.m < 8 * numbers.p ? undefined : { kind, ...numbers }
}
