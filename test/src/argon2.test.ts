import { fork, type ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { cpSync, existsSync, mkdirSync, readFileSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join, resolve } from 'node:path'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { ConfigError } from '../../src/config/config-error.ts'
import { load, order, type Build } from '../../src/passwords/argon2-build.ts'
import { environment } from '../support/app.ts'
import { freePort } from '../../src/database/embedded/server.ts'
import type { Question } from '../support/hasher.ts'
import { createDatabase } from '../support/postgres.ts'
import { ready, run } from '../support/process.ts'
import { isCompiled, moduleFile, nodeOptions } from '../support/program.ts'
import { temporaryFolder } from '../support/temporary-folder.ts'
import { scale } from '../support/soak.ts'

const { version } = createRequire(import.meta.url)('argon2/package.json')
const native = resolve(`native/argon2-${version}`)
const isX64 = process.platform === 'linux' && process.arch === 'x64'
const flags = isX64 ? readFileSync('/proc/cpuinfo', 'utf8') : ''

/** Why a compiled build cannot be tried here. */
function obstacle (build: 'avx2' | 'avx512'): string | false {
  if (!new RegExp(`^flags.* ${build === 'avx2' ? 'avx2' : 'avx512f'} `, 'm').test(`${flags} `)) return `this processor does not run ${build}`
  return !process.env['CI'] && !existsSync(join(native, build)) && `${build} was not made: npm run build:argon2`
}

// So that no .env of this folder is read.
const production = { NODE_ENV: 'production', DATABASE_URL: 'postgres://nobody@127.0.0.1/none', ISSUER_URL: 'https://auth.example.com', KEY_ENCRYPTION_KEY: randomBytes(32).toString('base64') }

/** A process that hashes with one build. */
async function hasher (t: Test, build: Build) {
  const child: ChildProcess = fork(moduleFile('test/support/hasher.ts'), { execArgv: [...nodeOptions], env: { PATH: process.env['PATH'], ...production, ARGON2_BUILD: build } })
  t.teardown(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return
    const exit = once(child, 'exit')
    child.disconnect()
    await exit
  })
  const gone = once(child, 'exit').then(([code, signal]) => { throw new Error(`the process of ${build} has ended: ${code ?? signal}`) })
  gone.catch(() => {})
  const heard = async () => (await Promise.race([once(child, 'message'), gone]))[0]
  t.equal(await heard(), build)
  return async (question: Question): Promise<string> => {
    child.send(question)
    return await heard()
  }
}

const base64 = (length: number, byte: number) => Buffer.alloc(length, byte).toString('base64')

t.test('every build gives the hash of RFC 9106 section 5.3', async t => {
  for (const build of ['prebuilt', 'avx2', 'avx512'] as const) {
    await t.test(build, { skip: build !== 'prebuilt' && obstacle(build) }, async t => {
      const hash = await hasher(t, build)
      t.equal(await hash({ password: base64(32, 1), salt: base64(16, 2), secret: base64(8, 3), data: base64(12, 4), memory: 32, passes: 3, lanes: 4, length: 32 }),
        '0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659')
    })
  }
})

t.test('all builds give the same hashes', async t => {
  for (const build of ['avx2', 'avx512'] as const) {
    await t.test(build, { skip: obstacle(build) }, async t => {
      const [ours, theirs] = await Promise.all([hasher(t, build), hasher(t, 'prebuilt')])
      const bytes = (minLength: number, maxLength: number) => fc.uint8Array({ minLength, maxLength }).map(array => Buffer.from(array).toString('base64'))
      const question: fc.Arbitrary<Question> = fc.record({
        password: bytes(0, 300), salt: bytes(8, 48), secret: bytes(0, 40), data: bytes(0, 40), lanes: fc.integer({ min: 1, max: 5 }), passes: fc.integer({ min: 1, max: 4 }), length: fc.integer({ min: 4, max: 130 }), memory: fc.integer({ min: 40, max: 700 })
      })
      const hashes = new Set<string>()
      await fc.assert(fc.asyncProperty(question, async question => {
        const [one, other] = await Promise.all([ours(question), theirs(question)])
        hashes.add(one)
        return one === other && one.length === 2 * question.length
      }), { numRuns: scale(300, 60) })
      t.ok(hashes.size > scale(200, 40), 'of which many differ')
    })
  }
})

t.test('the builds to try', async t => {
  const both = ['avx512', 'avx2']
  const cases: Array<[flags: string[], there: string[], expected: Build[]]> = [
    [[], [], ['prebuilt']],
    [[], both, ['prebuilt']],
    [['sse2', 'avx'], both, ['prebuilt']],
    [['avx2'], both, ['avx2', 'prebuilt']],
    [['avx2'], ['avx512'], ['prebuilt']],
    [['avx2', 'avx512f'], both, ['avx512', 'avx2', 'prebuilt']],
    [['avx2', 'avx512f'], ['avx2'], ['avx2', 'prebuilt']],
    [['avx2', 'avx512f'], ['avx512'], ['avx512', 'prebuilt']],
    [['avx2', 'avx512bw', 'avx512vl'], both, ['avx2', 'prebuilt']]
  ]
  for (const [flags, there, expected] of cases) t.strictSame(order('auto', new Set(flags), build => there.includes(build)), expected, `${flags} × ${there}`)

  await t.test('are the one that is named, where it can be used', async t => {
    t.strictSame(order('avx2', new Set(['avx2', 'avx512f']), () => true), ['avx2'])
    t.strictSame(order('prebuilt', new Set(['avx2']), () => true), ['prebuilt'])
    t.throws(() => order('avx512', new Set(['avx2']), () => true), new ConfigError(['ARGON2_BUILD is avx512, but this processor is not known to have avx512f']))
    t.throws(() => order('avx2', new Set(['avx2']), () => false), new ConfigError(['ARGON2_BUILD is avx2, but it is not there: make it with npm run build:argon2']))
  })
})

t.test('a build that does not work', { skip: !/^flags.* avx2 /m.test(`${flags} `) && 'this processor does not run avx2' }, async t => {
  // Puts a file in the place of the AVX2 build.
  const place = (file: string, content: Buffer) => {
    mkdirSync(dirname(file), { recursive: true })
    writeFileSync(file, content)
  }
  const binary = 'avx2/build/Release/argon2.node'
  // The package's own binary, with another first word in the initial value of BLAKE2b (RFC 7693 section 2.6).
  const spoilt = () => {
    const brought = 'node_modules/argon2/prebuilds/linux-x64'
    const libc = existsSync('/etc/alpine-release') ? 'musl' : 'glibc'
    const content = readFileSync(`${brought}/${readdirSync(brought).find(name => name.includes(libc))}`)
    const word = Buffer.from('08c9bcf367e6096a', 'hex')
    for (let at = content.indexOf(word); at >= 0; at = content.indexOf(word)) content[at] = 9
    return content
  }

  await t.test('is passed over for the next', async t => {
    const cases: Array<[what: string, content: Buffer, reason: RegExp]> = [
      ['no library', Buffer.from('nothing'), /^argon2's avx2 build does not work: .*(invalid ELF header|file too short)/],
      ['a library with wrong hashes', spoilt(), /^argon2's avx2 build does not work: its hashes are wrong$/]
    ]
    for (const [what, content, reason] of cases) {
      const home = temporaryFolder(t)
      place(join(home, binary), content)
      const { name, argon2, passedOver } = await load('auto', home)
      t.equal(name, 'prebuilt', what)
      t.equal(passedOver.length, 1)
      t.match(passedOver[0], reason)
      t.ok(await argon2.verify(await argon2.hash('a password', { memoryCost: 64 }), 'a password'))
      await t.rejects(load('avx2', home), { name: 'ConfigError', problems: [/^ARGON2_BUILD is avx2, but it does not work: /] })
    }
    const empty = temporaryFolder(t)
    mkdirSync(join(empty, 'avx2'))
    t.match(await load('auto', empty), { name: 'prebuilt', passedOver: [/No native build was found/] }, 'nor is a folder without a file a build')
    t.notOk('ARGON2_PREBUILD' in process.env)
  })

  await t.test('is told of by the service, which hashes with another, or ends where that one is named', { skip: !isCompiled && 'it copies compiled code' }, async t => {
    // The service as it is, apart from the builds beside it.
    const home = temporaryFolder(t)
    for (const part of ['dist/src', 'dist/plugins', 'dist/routes', 'package.json']) cpSync(part, join(home, part), { recursive: true })
    for (const part of ['node_modules', 'migrations', 'routes', 'src']) symlinkSync(resolve(part), join(home, part))
    const DATABASE_URL = await createDatabase(t)
    const serve = async (more: Record<string, string>) => {
      const port = await freePort()
      return run(t, [join(home, 'dist/src/cli.js'), 'serve'], { cwd: home, port, env: { ...environment, DATABASE_URL, PORT: String(port), ISSUER_URL: `http://localhost:${port}`, ...more } })
    }
    const without = await serve({ ARGON2_BUILD: 'avx2' })
    t.strictSame(await without.ended, { code: 78, signal: null })
    t.match(without.output(), 'ARGON2_BUILD is avx2, but it is not there: make it with npm run build:argon2')

    place(join(home, `native/argon2-${version}`, binary), Buffer.from('nothing'))
    const broken = await serve({})
    await ready(broken)
    const lines = broken.output().trim().split('\n').map(line => JSON.parse(line))
    const messages = lines.filter(({ msg }) => /argon2/.test(msg)).map(({ level, msg }) => `${level}: ${msg}`)
    t.match(messages, [/^40: argon2's avx2 build does not work: /, /^30: password hashing uses argon2$/])
    t.equal(messages.length, 2)
    const named = await serve({ ARGON2_BUILD: 'avx2' })
    t.strictSame(await named.ended, { code: 78, signal: null })
    t.match(named.output(), 'ARGON2_BUILD is avx2, but it does not work: ')
  })
})

t.test('the service takes the best build', { skip: obstacle('avx2') }, async t => {
  const best = obstacle('avx512') === false ? 'avx512' : 'avx2'
  t.match(await load('auto'), { name: best, passedOver: [] })
})

t.test('hashing leaves threads to files and host names', { skip: (process.platform !== 'linux' && 'threads are counted in /proc') || (!isCompiled && 'tsx uses the thread pool before the service can size it') }, async t => {
  const DATABASE_URL = await createDatabase(t)
  const entry = moduleFile('src/latchkey.cts')
  // Logs eight strangers in at a time, and reads a file meanwhile.
  const hash = async (t: Test, args: string[], more: Record<string, string> = {}) => {
    const port = await freePort()
    const env = { ...environment, DATABASE_URL, PORT: String(port), ISSUER_URL: `http://localhost:${port}`, ARGON2_CONCURRENCY: '8', ARGON2_MEMORY_KIB: '8192', ARGON2_TIME_COST: '150', REQUEST_TIMEOUT: '60s', ...more }
    // The test runner would have a module preloaded.
    const service = run(t, [...args, 'serve'], { cwd: temporaryFolder(t), env, port, launcher: ['env', '-u', 'NODE_OPTIONS'] })
    await ready(service)
    const pid = service.child.pid ?? 0
    const login = async () => {
      const headers = { 'content-type': 'application/json' }
      const { status } = await fetch(`${service.base}/v1/auth/login`, { method: 'POST', headers, body: JSON.stringify({ email: 'nobody@example.com', password: 'correct horse battery' }) })
      return status
    }
    // With it, what is made for strangers at the start is there.
    t.equal(await login(), 401)
    // Which threads run, or would if there was a processor for them; the process's first thread is that of JavaScript.
    const busy = () => readdirSync(`/proc/${pid}/task`).filter(id => Number(id) !== pid && /\) R /.test(readFileSync(`/proc/${pid}/task/${id}/stat`, 'utf8')))
    const state = { hashing: true }
    const first = Promise.race(Array.from({ length: 8 }, login)).then(() => { state.hashing = false; return 'a hash' })
    while (busy().length < 3) await new Promise(resolve => setTimeout(resolve, 5))
    const sooner = Promise.race([fetch(`${service.base}/docs/static/swagger-ui.css`).then(({ status }) => status), first])
    const seen = new Map<string, number>()
    let looks = 0
    for (; state.hashing; looks++) {
      for (const id of busy()) seen.set(id, 1 + (seen.get(id) ?? 0))
      await new Promise(resolve => setTimeout(resolve, 5))
    }
    t.equal(await sooner, 200, 'the file is there before the first of the hashes')
    // Others run now and then.
    const threads = [...seen.values()].filter(count => count > looks / 2).length
    // What it still does would take long.
    service.child.kill('SIGKILL')
    await service.ended
    return { threads, warnings: service.output().trim().split('\n').map(line => JSON.parse(line)).filter(({ level, msg }) => level === 40 && msg.includes('ARGON2')).map(({ msg }) => msg) }
  }

  await t.test('of which there are enough', async t => {
    t.strictSame(await hash(t, [entry]), { threads: 8, warnings: [] })
  })

  await t.test('also where there are fewer than ARGON2_CONCURRENCY wants, which it tells', async t => {
    const warning = (threads: number) => `ARGON2_CONCURRENCY is 8, but only ${threads - 1} passwords are hashed at a time, for this process has ${threads} threads for them and all else: set UV_THREADPOOL_SIZE=12 in its environment`
    t.strictSame(await hash(t, [moduleFile('src/cli.ts')]), { threads: 3, warnings: [warning(4)] })
    t.strictSame(await hash(t, ['--import', 'data:text/javascript,', entry]), { threads: 3, warnings: [warning(4)] })
    t.strictSame(await hash(t, [entry], { UV_THREADPOOL_SIZE: '6' }), { threads: 5, warnings: [warning(6)] })
  })

  await t.test('and the processor to the thread that answers', async t => {
    const port = await freePort()
    const env = { ...environment, DATABASE_URL, PORT: String(port), ISSUER_URL: `http://localhost:${port}`, UV_THREADPOOL_SIZE: '5' }
    const service = run(t, [entry, 'serve'], { cwd: temporaryFolder(t), env, port, launcher: ['env', '-u', 'NODE_OPTIONS'] })
    await ready(service)
    const pid = service.child.pid ?? 0
    const priority = (id: string) => Number(/\) (?:\S+ ){16}(-?\d+)/.exec(readFileSync(`/proc/${pid}/task/${id}/stat`, 'utf8'))?.[1])
    const all = readdirSync(`/proc/${pid}/task`).map(priority)
    t.equal(priority(String(pid)), 0)
    t.equal(all.filter(each => each === 10).length, 5, 'the threads of the pool')
    t.equal(all.filter(each => each === 0).length, all.length - 5, 'and no others')
  })
})
