// A process that hashes with the build of argon2 that its configuration names: the first message is that
// build's name.
import { load } from '../../src/config/config.ts'
import { environment } from '../../src/config/environment.ts'
import * as argon2Build from '../../src/passwords/argon2-build.ts'

/** What is to be hashed, in base64, and how. */
export interface Question { password: string, salt: string, secret: string, data: string, memory: number, passes: number, lanes: number, length: number }

const bytes = (text: string) => Buffer.from(text, 'base64')

const { name, argon2 } = await argon2Build.loadArgon2(load(environment()).passwords.build)
process.on('message', async ({ password, salt, secret, data, memory, passes, lanes, length }: Question) => {
  const options = { type: argon2.argon2id, memoryCost: memory, timeCost: passes, parallelism: lanes, hashLength: length, salt: bytes(salt), secret: bytes(secret), associatedData: bytes(data), raw: true } as const
  process.send?.((await argon2.hash(bytes(password), options)).toString('hex'))
})
process.on('disconnect', () => process.exit())
process.send?.(name)
