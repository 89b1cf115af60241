import { fork, type ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { cpSync, existsSync, mkdirSync, readFileSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join, resolve } from 'node:path'
import fc from 'fast-check'
import type { Test } from 'tap'
import { ConfigError } from '../../src/config/config-error.ts'
import { candidateBuilds, loadArgon2, type Argon2Build } from '../../src/passwords/argon2-build.ts'
import { environment } from '../support/app.ts'
import { freePort } from '../../src/database/embedded/server.ts'
import type { HashRequest } from '../support/hasher.ts'
import { createDatabase } from '../support/postgres.ts'
import { ready, run } from '../support/process.ts'
import { isCompiled, moduleFile, nodeOptions } from '../support/program.ts'
import { temporaryFolder } from '../support/temporary-folder.ts'
import { onlyInSoak, scale } from '../support/soak.ts'
import { t } from '../support/test.ts'

const { version } = createRequire(import.meta.url)('argon2/package.json')
const compiledBuilds = resolve(`native/argon2-${version}`)
const isX64 = process.platform === 'linux' && process.arch === 'x64'
const flags = isX64 ? readFileSync('/proc/cpuinfo', 'utf8') : ''

/** Returns why a compiled build cannot be tested here; false if it can be. */
function obstacle (build: 'avx2' | 'avx512'): string | false {
  if (!new RegExp(`^flags.* ${build === 'avx2' ? 'avx2' : 'avx512f'} `, 'm').test(`${flags} `)) {
    return `this processor does not support ${build}`
  }
  return (
    !process.env['CI'] &&
    !existsSync(join(compiledBuilds, build)) &&
    `${build} was not compiled: npm run build:argon2`
  )
}

// In production no .env file of this folder is read.
const production = {
  NODE_ENV: 'production',
  DATABASE_URL: 'postgres://nobody@127.0.0.1/none',
  ISSUER_URL: 'https://auth.example.com',
  KEY_ENCRYPTION_KEY: randomBytes(32).toString('base64')
}

/** Starts a process that hashes with one build, and returns a function that asks it for a hash. */
async function startHasher (t: Test, build: Argon2Build) {
  const child: ChildProcess = fork(moduleFile('test/support/hasher.ts'), {
    execArgv: [...nodeOptions],
    env: { PATH: process.env['PATH'], ...production, ARGON2_BUILD: build }
  })
  t.teardown(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return
    const exit = once(child, 'exit')
    child.disconnect()
    await exit
  })
  const ended = once(child, 'exit').then(([code, signal]) => {
    throw new Error(`the process with the build ${build} ended: ${code ?? signal}`)
  })
  ended.catch(() => {})
  const nextMessage = async () => (await Promise.race([once(child, 'message'), ended]))[0]
  t.equal(await nextMessage(), build)
  return async (question: HashRequest): Promise<string> => {
    child.send(question)
    return await nextMessage()
  }
}

const base64 = (length: number, byte: number) => Buffer.alloc(length, byte).toString('base64')

t.test('every build computes the test vector of RFC 9106 section 5.3', async t => {
  for (const build of ['prebuilt', 'avx2', 'avx512'] as const) {
    await t.test(build, { skip: build !== 'prebuilt' && obstacle(build) }, async t => {
      const hash = await startHasher(t, build)
      t.equal(
        await hash({
          password: base64(32, 1),
          salt: base64(16, 2),
          secret: base64(8, 3),
          data: base64(12, 4),
          memory: 32,
          passes: 3,
          lanes: 4,
          length: 32
        }),
        '0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659'
      )
    })
  }
})

t.test('all builds compute the same hashes', async t => {
  for (const build of ['avx2', 'avx512'] as const) {
    await t.test(build, { skip: obstacle(build) }, async t => {
      const [hashWithBuild, hashWithPrebuilt] = await Promise.all([
        startHasher(t, build),
        startHasher(t, 'prebuilt')
      ])
      const bytes = (minLength: number, maxLength: number) =>
        fc.uint8Array({ minLength, maxLength }).map(array => Buffer.from(array).toString('base64'))
      const question: fc.Arbitrary<HashRequest> = fc.record({
        password: bytes(0, 300),
        salt: bytes(8, 48),
        secret: bytes(0, 40),
        data: bytes(0, 40),
        lanes: fc.integer({ min: 1, max: 5 }),
        passes: fc.integer({ min: 1, max: 4 }),
        length: fc.integer({ min: 4, max: 130 }),
        memory: fc.integer({ min: 40, max: 700 })
      })
      const hashes = new Set<string>()
      await fc.assert(fc.asyncProperty(question, async question => {
        const [one, other] = await Promise.all([hashWithBuild(question), hashWithPrebuilt(question)])
        hashes.add(one)
        return one === other && one.length === 2 * question.length
      }), { numRuns: scale(300, 60) })
      t.ok(hashes.size > scale(200, 40), 'many different hashes are compared')
    })
  }
})

t.test('the candidate builds', async t => {
  const bothBuilds = ['avx512', 'avx2']
  const cases: Array<[flags: string[], existing: string[], expected: Argon2Build[]]> = [
    [[], [], ['prebuilt']],
    [[], bothBuilds, ['prebuilt']],
    [['sse2', 'avx'], bothBuilds, ['prebuilt']],
    [['avx2'], bothBuilds, ['avx2', 'prebuilt']],
    [['avx2'], ['avx512'], ['prebuilt']],
    [['avx2', 'avx512f'], bothBuilds, ['avx512', 'avx2', 'prebuilt']],
    [['avx2', 'avx512f'], ['avx2'], ['avx2', 'prebuilt']],
    [['avx2', 'avx512f'], ['avx512'], ['avx512', 'prebuilt']],
    [['avx2', 'avx512bw', 'avx512vl'], bothBuilds, ['avx2', 'prebuilt']]
  ]
  for (const [flags, existing, expected] of cases) {
    const builds = candidateBuilds('auto', new Set(flags), build => existing.includes(build))
    t.strictSame(builds, expected, `${flags} × ${existing}`)
  }

  await t.test('are only the configured build, if it can be used', async t => {
    t.strictSame(candidateBuilds('avx2', new Set(['avx2', 'avx512f']), () => true), ['avx2'])
    t.strictSame(candidateBuilds('prebuilt', new Set(['avx2']), () => true), ['prebuilt'])
    t.throws(
      () => candidateBuilds('avx512', new Set(['avx2']), () => true),
      new ConfigError(['ARGON2_BUILD is avx512, but this processor does not report avx512f'])
    )
    t.throws(
      () => candidateBuilds('avx2', new Set(['avx2']), () => false),
      new ConfigError(['ARGON2_BUILD is avx2, but it does not exist; create it with npm run build:argon2'])
    )
  })
})

const hasAvx2 = /^flags.* avx2 /m.test(`${flags} `)
t.test('a build that does not work', { skip: !hasAvx2 && 'this processor has no avx2' }, async t => {
  const writeBinary = (file: string, content: Buffer) => {
    mkdirSync(dirname(file), { recursive: true })
    writeFileSync(file, content)
  }
  const binary = 'avx2/build/Release/argon2.node'
  // The package's own binary with a wrong first word in the initial value of BLAKE2b (RFC 7693 section 2.6).
  const corruptedBinary = () => {
    const prebuilds = 'node_modules/argon2/prebuilds/linux-x64'
    const libc = existsSync('/etc/alpine-release') ? 'musl' : 'glibc'
    const content = readFileSync(`${prebuilds}/${readdirSync(prebuilds).find(name => name.includes(libc))}`)
    const word = Buffer.from('08c9bcf367e6096a', 'hex')
    for (let at = content.indexOf(word); at >= 0; at = content.indexOf(word)) content[at] = 9
    return content
  }

  await t.test('is skipped for the next one', async t => {
    const cases: Array<[name: string, content: Buffer, warning: RegExp]> = [
      [
        'no library',
        Buffer.from('nothing'),
        /^the avx2 build of argon2 does not work: .*(invalid ELF header|file too short)/
      ],
      [
        'a library with wrong hashes',
        corruptedBinary(),
        /^the avx2 build of argon2 does not work: its hashes are wrong$/
      ]
    ]
    for (const [name, content, warning] of cases) {
      const home = temporaryFolder(t)
      writeBinary(join(home, binary), content)
      const { argon2, buildWarnings, ...loaded } = await loadArgon2('auto', home)
      t.equal(loaded.name, 'prebuilt', name)
      t.equal(buildWarnings.length, 1)
      t.match(buildWarnings[0], warning)
      t.ok(await argon2.verify(await argon2.hash('a password', { memoryCost: 64 }), 'a password'))
      await t.rejects(loadArgon2('avx2', home), {
        name: 'ConfigError',
        problems: [/^ARGON2_BUILD is avx2, but it does not work: /]
      })
    }
    const empty = temporaryFolder(t)
    mkdirSync(join(empty, 'avx2'))
    t.match(
      await loadArgon2('auto', empty),
      { name: 'prebuilt', buildWarnings: [/No native build was found/] },
      'an empty folder is no build either'
    )
    t.notOk('ARGON2_PREBUILD' in process.env)
  })

  const skip = isCompiled ? onlyInSoak.skip : 'it copies compiled code'
  await t.test('makes the service use another one, or exit if it is configured', { skip }, async t => {
    // A copy of the service, whose folder of compiled builds the test controls.
    const home = temporaryFolder(t)
    const [copied, linked] = [
      ['dist/src', 'dist/plugins', 'dist/routes', 'package.json'],
      ['node_modules', 'migrations', 'routes', 'src']
    ]
    for (const path of copied) cpSync(path, join(home, path), { recursive: true })
    for (const path of linked) symlinkSync(resolve(path), join(home, path))
    const DATABASE_URL = await createDatabase(t)
    const serve = async (variables: Record<string, string>) => {
      const port = await freePort()
      return run(t, [join(home, 'dist/src/cli.js'), 'serve'], {
        cwd: home,
        port,
        env: {
          ...environment,
          DATABASE_URL,
          PORT: String(port),
          ISSUER_URL: `http://localhost:${port}`,
          ...variables
        }
      })
    }
    const missing = await serve({ ARGON2_BUILD: 'avx2' })
    t.strictSame(await missing.ended, { code: 78, signal: null })
    t.match(
      missing.output(),
      'ARGON2_BUILD is avx2, but it does not exist; create it with npm run build:argon2'
    )

    writeBinary(join(home, `native/argon2-${version}`, binary), Buffer.from('nothing'))
    const broken = await serve({})
    await ready(broken)
    const lines = broken.output().trim().split('\n').map(line => JSON.parse(line))
    const messages = lines.filter(({ msg }) => /argon2/.test(msg)).map(({ level, msg }) => `${level}: ${msg}`)
    t.match(messages, [
      /^40: the avx2 build of argon2 does not work: /,
      /^30: password hashing uses argon2$/
    ])
    t.equal(messages.length, 2)
    const configured = await serve({ ARGON2_BUILD: 'avx2' })
    t.strictSame(await configured.ended, { code: 78, signal: null })
    t.match(configured.output(), 'ARGON2_BUILD is avx2, but it does not work: ')
  })
})

t.test('the service takes the fastest build', { skip: obstacle('avx2') }, async t => {
  const best = obstacle('avx512') === false ? 'avx512' : 'avx2'
  t.match(await loadArgon2('auto'), { name: best, buildWarnings: [] })
})

const noProcfs = process.platform !== 'linux' && 'threads are counted in /proc'
const fromSource = !isCompiled && 'tsx uses the thread pool before the service can size it'
t.test('hashing leaves threads for files and host names', { skip: noProcfs || fromSource }, async t => {
  const DATABASE_URL = await createDatabase(t)
  const entry = moduleFile('src/latchkey.cts')
  // Signs in eight times at once, and fetches a file meanwhile.
  const countThreads = async (t: Test, args: string[], variables: Record<string, string> = {}) => {
    const port = await freePort()
    const env = {
      ...environment,
      DATABASE_URL,
      PORT: String(port),
      ISSUER_URL: `http://localhost:${port}`,
      ARGON2_CONCURRENCY: '8',
      ARGON2_MEMORY_KIB: '8192',
      ARGON2_TIME_COST: '150',
      REQUEST_TIMEOUT: '60s',
      ...variables
    }
    // NODE_OPTIONS would preload a module of the test runner.
    const service = run(t, [...args, 'serve'], {
      cwd: temporaryFolder(t),
      env,
      port,
      launcher: ['env', '-u', 'NODE_OPTIONS']
    })
    await ready(service)
    const pid = service.child.pid ?? 0
    const login = async () => {
      const headers = { 'content-type': 'application/json' }
      const { status } = await fetch(`${service.base}/v1/auth/login`, {
        method: 'POST',
        headers,
        body: JSON.stringify({ email: 'nobody@example.com', password: 'correct horse battery' })
      })
      return status
    }
    // After this login, the dummy hash exists.
    t.equal(await login(), 401)
    // The threads that run or are ready to run, without the first one, which runs JavaScript.
    const runnableThreads = () =>
      readdirSync(`/proc/${pid}/task`).filter(
        id => Number(id) !== pid && /\) R /.test(readFileSync(`/proc/${pid}/task/${id}/stat`, 'utf8'))
      )
    const state = { isHashing: true }
    const first = Promise.race(Array.from({ length: 8 }, login)).then(() => {
      state.isHashing = false
      return 'a hash'
    })
    while (runnableThreads().length < 3) await new Promise(resolve => setTimeout(resolve, 5))
    const firstResponse = Promise.race([
      fetch(`${service.base}/docs/static/swagger-ui.css`).then(({ status }) => status),
      first
    ])
    const seen = new Map<string, number>()
    let samples = 0
    for (; state.isHashing; samples++) {
      for (const id of runnableThreads()) seen.set(id, 1 + (seen.get(id) ?? 0))
      await new Promise(resolve => setTimeout(resolve, 5))
    }
    t.equal(await firstResponse, 200, 'the file arrives before the first hash')
    // Other threads run only now and then.
    const threads = [...seen.values()].filter(count => count > samples / 2).length
    // The remaining hashes would take long.
    service.child.kill('SIGKILL')
    await service.ended
    return {
      threads,
      warnings: service
        .output()
        .trim()
        .split('\n')
        .map(line => JSON.parse(line))
        .filter(({ level, msg }) => level === 40 && msg.includes('ARGON2'))
        .map(({ msg }) => msg)
    }
  }

  await t.test('if the pool has enough threads', async t => {
    t.strictSame(await countThreads(t, [entry]), { threads: 8, warnings: [] })
  })

  await t.test(
    'also if the pool has fewer threads than ARGON2_CONCURRENCY needs; a warning says so',
    onlyInSoak,
    async t => {
      const warning = (threads: number) =>
        `ARGON2_CONCURRENCY is 8, but the thread pool has ${threads} threads, so only ${threads - 1} ` +
        'passwords are hashed at a time; set UV_THREADPOOL_SIZE=12'
      t.strictSame(await countThreads(t, [moduleFile('src/cli.ts')]), {
        threads: 3,
        warnings: [warning(4)]
      })
      t.strictSame(await countThreads(t, ['--import', 'data:text/javascript,', entry]), {
        threads: 3,
        warnings: [warning(4)]
      })
      t.strictSame(await countThreads(t, [entry], { UV_THREADPOOL_SIZE: '6' }), {
        threads: 5,
        warnings: [warning(6)]
      })
    }
  )

  await t.test('and runs at a lower priority than the thread that runs JavaScript', onlyInSoak, async t => {
    const port = await freePort()
    const env = {
      ...environment,
      DATABASE_URL,
      PORT: String(port),
      ISSUER_URL: `http://localhost:${port}`,
      UV_THREADPOOL_SIZE: '5'
    }
    const service = run(t, [entry, 'serve'], {
      cwd: temporaryFolder(t),
      env,
      port,
      launcher: ['env', '-u', 'NODE_OPTIONS']
    })
    await ready(service)
    const pid = service.child.pid ?? 0
    const priority = (id: string) =>
      Number(/\) (?:\S+ ){16}(-?\d+)/.exec(readFileSync(`/proc/${pid}/task/${id}/stat`, 'utf8'))?.[1])
    const all = readdirSync(`/proc/${pid}/task`).map(priority)
    t.equal(priority(String(pid)), 0)
    t.equal(all.filter(each => each === 10).length, 5, 'the threads of the pool')
    t.equal(all.filter(each => each === 0).length, all.length - 5, 'no other threads')
  })
})
