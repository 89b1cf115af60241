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

/** The PHC string of a new hash (RFC 9106). */
export async function hash (password: string | Buffer, { memoryKib, timeCost, parallelism }: Argon2Options): Promise<string> {
  const { argon2 } = await loaded()
  return await argon2.hash(password, { type: argon2.argon2id, memoryCost: memoryKib, timeCost, parallelism })
}

/** Whether the password is that of the PHC string. */
export const verify = async (hash: string, password: string): Promise<boolean> => await (await loaded()).argon2.verify(hash, password)

/** Whether the hash took less work than one with these options would. */
export function outdated (hash: string, { memoryKib, timeCost }: Argon2Options): boolean {
  const { v, m, t } = parameters(hash)
  return v < 0x13 || m * t < memoryKib * timeCost
}

/** The version, memory in KiB and passes that a PHC string of argon2id names. */
function parameters (hash: string) {
  const [, v, m, t] = /^\$argon2id\$v=(\d+)\$m=(\d+),t=(\d+),p=\d+/.exec(hash) ?? []
  return { v: Number(v ?? 0), m: Number(m ?? 0), t: Number(t ?? 0) }
}
