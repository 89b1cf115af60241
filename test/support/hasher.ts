// A process that hashes with the build of argon2 that its configuration names. Its first message is the name
// of that build.
import { load } from '../../src/config/config.ts'
import { environment } from '../../src/config/environment.ts'
import * as argon2Build from '../../src/passwords/argon2-build.ts'

/** The texts to hash, in base64, and the parameters of argon2. */
export interface HashRequest {
  password: string
  salt: string
  secret: string
  data: string
  memory: number
  passes: number
  lanes: number
  length: number
}

const bytes = (text: string) => Buffer.from(text, 'base64')

const { name, argon2 } = await argon2Build.loadArgon2(load(environment()).passwords.build)
async function answer (question: HashRequest): Promise<void> {
  const hash = await argon2.hash(bytes(question.password), {
    type: argon2.argon2id,
    memoryCost: question.memory,
    timeCost: question.passes,
    parallelism: question.lanes,
    hashLength: question.length,
    salt: bytes(question.salt),
    secret: bytes(question.secret),
    associatedData: bytes(question.data),
    raw: true
  })
  process.send?.(hash.toString('hex'))
}
process.on('message', (question: HashRequest) => { void answer(question) })
process.on('disconnect', () => process.exit())
process.send?.(name)
