import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import * as fs from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import pg from 'pg'
import type { Test } from 'tap'
import { complete } from '../../src/database/embedded/cluster.ts'
import {
  EmbeddedPostgresError,
  start,
  type EmbeddedPostgresOptions
} from '../../src/database/embedded/embedded-postgres.ts'
import { waitUntil } from '../support/polling.ts'
import { moduleFile, nodeOptions } from '../support/program.ts'
import { onlyInSoak } from '../support/soak.ts'
import { t } from '../support/test.ts'

const run = promisify(execFile)
const isRoot = process.getuid?.() === 0
const nobody = 65_534
// Nothing in here has to survive a power failure.
const settings = ['fsync=off']
const library = pathToFileURL(moduleFile('src/database/embedded/embedded-postgres.ts'))

interface StartResult {
  url?: string
  version?: string
  dataDir?: string
  isAdopted?: boolean
  refusal?: string
}
interface ServiceOptions { options?: EmbeddedPostgresOptions, uid?: number, path?: string, arch?: string }

// They wait more than they work.
t.jobs = 3

// A parent that only its user can enter. A server that still runs in it at the end is stopped.
async function folder (t: Test, mode = 0o700): Promise<string> {
  const parent = await fs.mkdtemp(join(tmpdir(), 'latchkey-pg-'))
  await fs.chmod(parent, mode)
  const dir = join(parent, 'data')
  t.teardown(async () => {
    if (await exists(join(dir, 'pg', 'postmaster.pid'))) {
      await start(dir).then(
        postgres => postgres.stop(),
        () => {}
      )
    }
    await fs.rm(parent, { recursive: true, force: true })
  })
  return dir
}

// Another process that holds the database until its standard input ends.
function service (
  t: Test,
  dir: string,
  { options = {}, uid, path, arch = process.arch }: ServiceOptions = {}
) {
  const script = `
    import { once } from 'node:events'
    import { start } from ${JSON.stringify(library)}
    Object.defineProperty(process, 'arch', { value: '${arch}' })
    try {
      const postgres = await start(process.argv[1], ${JSON.stringify({ settings, ...options })})
      console.log(JSON.stringify(postgres))
      await once(process.stdin.resume(), 'end')
      await postgres.stop()
    } catch (error) {
      console.log(JSON.stringify({ refusal: error.name + ': ' + error.message }))
    }`
  const env = { ...process.env, NODE_OPTIONS: '', PATH: path ?? process.env.PATH }
  const child = spawn(process.execPath, [...nodeOptions, '--input-type=module', '-e', script, dir], {
    env,
    cwd: '/',
    stdio: ['pipe', 'pipe', 'inherit'],
    ...(uid === undefined ? {} : { uid, gid: uid })
  })
  const exit = once(child, 'exit')
  const answer = once(createInterface(child.stdout), 'line').then(([line]): StartResult => JSON.parse(line))
  async function kill () {
    child.kill('SIGKILL')
    await exit
  }
  async function end () {
    child.stdin.end()
    await exit
    return child.exitCode
  }
  t.teardown(kill)
  return { answer, kill, end }
}

async function query (url: string | undefined, sql: string): Promise<unknown[]> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 3_000 })
  client.on('error', () => {})
  await client.connect()
  try {
    const { rows } = await client.query<unknown[]>({ text: sql, rowMode: 'array' })
    return rows.flat()
  } finally {
    await client.end()
  }
}

/** Calls this until it succeeds. */
async function eventually (work: () => Promise<unknown>): Promise<void> {
  let failure: unknown
  await waitUntil(() => String(failure), async () => {
    try {
      await work()
      return true
    } catch (error) {
      failure = error
      return false
    }
  })
}

const keep = 'create table kept as select 42 as answer'
const kept = 'select answer from kept'

async function serverPid (dir: string): Promise<number> {
  return parseInt(await fs.readFile(join(dir, 'pg', 'postmaster.pid'), 'utf8'))
}

const exists = (file: string) => fs.stat(file).then(() => true, () => false)

t.test(
  'a first start creates a database in a folder that only its user can enter, and its data survive a restart',
  async t => {
    const dir = await folder(t)
    const first = await start(dir)
    t.match(first, {
      url: /^postgres:\/\/latchkey:[\w-]{32}@127\.0\.0\.1:\d+\/latchkey$/,
      version: /^\d+\.\d+$/,
      dataDir: join(await fs.realpath(dir), 'pg'),
      isAdopted: false
    })
    t.equal((await fs.stat(dir)).mode & 0o777, 0o700)
    t.equal((await fs.stat(join(dir, 'pg-password'))).mode & 0o777, 0o600)
    t.same((await fs.readdir(dir)).sort(), ['pg', 'pg-password', 'pg.log'], 'nothing is left of the making')
    t.same(
      await query(
        first.url,
        `select current_setting('fsync'), current_setting('server_encoding'),
          current_setting('unix_socket_directories'), current_setting('listen_addresses')`
      ),
      ['on', 'UTF8', '', '127.0.0.1']
    )
    await t.rejects(
      query(first.url.replace(/:[\w-]{32}@/, ':guess@'), 'select 1'),
      { code: '28P01' },
      'only the password opens it'
    )
    await query(first.url, keep)
    await Promise.all([first.stop(), first.stop()])
    await t.rejects(query(first.url, 'select 1'), { code: 'ECONNREFUSED' }, 'the server is gone')

    // A copy of the folder can lose its mode.
    await fs.chmod(join(dir, 'pg'), 0o755)
    const second = await start(dir, { settings: ['max_connections=7'] })
    t.equal((await fs.stat(join(dir, 'pg'))).mode & 0o777, 0o700)
    t.equal(second.isAdopted, false)
    t.same(await query(second.url, kept), [42])
    t.same(await query(second.url, 'show max_connections'), ['7'])
    await second.stop()
  }
)

t.test('a server whose owner was killed is adopted, with its data', async t => {
  const dir = await folder(t)
  const owner = service(t, dir)
  const { url } = await owner.answer
  await query(url, keep)
  const pid = await serverPid(dir)
  await owner.kill()
  const next = await start(dir)
  t.match(next, { isAdopted: true, url })
  t.equal(await serverPid(dir), pid)
  t.same(await query(next.url, kept), [42])
  await next.stop()
  await t.rejects(query(url, kept), { code: 'ECONNREFUSED' }, 'and it is stopped like one of our own')
})

t.test(
  'an orphaned server that does not answer is replaced by a new one with the same data',
  onlyInSoak,
  async t => {
    const dir = await folder(t)
    const owner = service(t, dir)
    await query((await owner.answer).url, keep)
    const pid = await serverPid(dir)
    await owner.kill()
    process.kill(pid, 'SIGSTOP')
    const next = await start(dir, { settings })
    t.equal(next.isAdopted, false)
    t.not(await serverPid(dir), pid)
    t.same(await query(next.url, kept), [42])
    await next.stop()
  }
)

t.test('a second owner is refused, unless the first one is shutting down', async t => {
  const dir = await folder(t)
  const first = await start(dir, { settings })
  const message = `another Latchkey is already using ${await fs.realpath(dir)}: ` +
    'stop it, or give this one its own database with DATABASE_URL'
  await Promise.all([
    service(t, dir).answer.then(answer => t.same(answer, { refusal: `EmbeddedPostgresError: ${message}` })),
    t.rejects(start(dir), new EmbeddedPostgresError(message), 'in the same process neither')
  ])
  await query(first.url, keep)
  const [second] = await Promise.all([start(dir, { settings }), first.stop()])
  t.same(await query(second.url, kept), [42])
  await second.stop()
})

t.test('of two simultaneous first starts exactly one succeeds', onlyInSoak, async t => {
  const dir = await folder(t)
  const services = [service(t, dir), service(t, dir)]
  const answers = await Promise.all(services.map(({ answer }) => answer))
  const [winner] = answers.filter(({ url }) => url)
  t.equal(answers.filter(({ url }) => url).length, 1)
  t.match(answers.filter(({ refusal }) => refusal), [{ refusal: /another Latchkey is already using/ }])
  t.same(await query(winner?.url, 'select 1'), [1])
  t.same(await Promise.all(services.map(({ end }) => end())), [0, 0])
  t.same((await fs.readdir(dir)).sort(), ['pg', 'pg-password', 'pg.log'])
})

t.test('leftovers of a kill or a crash do not prevent a start', async t => {
  const dir = await folder(t)
  const gone = spawn(process.execPath, ['-e', ''])
  await once(gone, 'exit')
  for (const pid of [gone.pid, process.pid]) {
    await fs.mkdir(join(dir, `pg.new-${pid}-0-x`, 'pg', 'base'), { recursive: true })
  }
  await fs.mkdir(join(dir, 'pg.new-1-0-x'))
  const first = await start(dir, { settings })
  t.same(
    (await fs.readdir(dir)).sort(),
    ['pg', 'pg-password', 'pg.log', 'pg.new-1-0-x'],
    'the draft of a living process is left alone'
  )
  const file = join(dir, 'pg', 'postmaster.pid')
  const lines = (await fs.readFile(file, 'utf8')).split('\n')
  await first.stop()

  for (const pid of [process.pid, gone.pid]) {
    await fs.writeFile(file, [pid, ...lines.slice(1)].join('\n'))
    const next = await start(dir, { settings })
    t.equal(next.isAdopted, false, 'the pid of another program')
    await next.stop()
  }
  await fs.writeFile(file, '')
  await (await start(dir, { settings })).stop()
  t.notOk(await exists(file))
})

t.test('links and executable bits that an installation without scripts lacks are created', async t => {
  const { postgres }: { postgres: string } = await import(
    `@embedded-postgres/${process.platform}-${process.arch}`
  )
  const copy = await fs.mkdtemp(join(tmpdir(), 'latchkey-pg-'))
  t.teardown(() => fs.rm(copy, { recursive: true }))
  await fs.cp(dirname(dirname(postgres)), join(copy, 'native'), { recursive: true, verbatimSymlinks: true })
  const lib = join(copy, 'native', 'lib')
  const names = (await fs.readdir(lib)).sort()
  for (const name of names) {
    if ((await fs.lstat(join(lib, name))).isSymbolicLink()) await fs.rm(join(lib, name))
  }
  const program = join(copy, 'native', 'bin', 'postgres')
  await fs.chmod(program, 0o644)
  await Promise.all([complete(copy), complete(copy)])
  t.same((await fs.readdir(lib)).sort(), names)
  t.match((await run(program, ['--version'])).stdout, /^postgres \(PostgreSQL\) \d+/)

  await fs.rm(join(copy, 'native', 'pg-symlinks.json'))
  await complete(copy)
  await fs.rm(join(copy, 'native', 'bin'), { recursive: true })
  await t.rejects(complete(copy), {
    name: 'EmbeddedPostgresError',
    message: /is incomplete: install it again/
  })
})

t.test('a server that is killed is restarted on the same port, until it is stopped', onlyInSoak, async t => {
  const dir = await folder(t)
  const messages: string[] = []
  const postgres = await start(dir, { settings, log: message => { messages.push(message) } })
  await query(postgres.url, keep)
  for (let round = 0; round < 2; round++) {
    const pid = await serverPid(dir)
    process.kill(pid, 'SIGKILL')
    await eventually(() =>
      query(postgres.url, 'select 1')
        .then(() => serverPid(dir))
        .then(now => {
          if (now === pid) throw new Error('still the old one')
        })
    )
    t.same(await query(postgres.url, kept), [42])
    await eventually(async () => {
      if (messages.at(-1) !== 'embedded PostgreSQL is back') throw new Error(messages.at(-1))
    })
  }
  t.match(messages.slice(0, 3), [
    'embedded PostgreSQL started',
    'embedded PostgreSQL lost; restarting it',
    'embedded PostgreSQL is back'
  ])
  await t.rejects(start(dir), { message: /another Latchkey/ }, 'and is held as before')

  process.kill(await serverPid(dir), 'SIGKILL')
  await eventually(async () => {
    if (messages.at(-1) !== 'embedded PostgreSQL lost; restarting it') throw new Error(messages.at(-1))
  })
  await postgres.stop()
  t.equal(messages.at(-1), 'embedded PostgreSQL lost; restarting it')
  await t.rejects(query(postgres.url, 'select 1'), { code: 'ECONNREFUSED' })
})

t.test(
  'the lock is acquired again after its connection is lost, and the port is updated',
  onlyInSoak,
  async t => {
    const dir = await folder(t)
    const messages: string[] = []
    const postgres = await start(dir, { settings, log: message => { messages.push(message) } })
    const back = (times: number) => eventually(async () => {
      if (messages.filter(message => message === 'embedded PostgreSQL is back').length < times) {
        throw new Error(messages.at(-1))
      }
    })
    const pid = await serverPid(dir)
    await query(
      postgres.url,
      "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'latchkey lock'"
    )
    await back(1)
    t.equal(await serverPid(dir), pid, 'the server was left alone')
    t.match(await service(t, dir).answer, { refusal: /another Latchkey/ })

    process.kill(pid, 'SIGKILL')
    const hasty = await start(dir, { isExclusive: false, settings })
    await back(2)
    t.same(await query(postgres.url, 'select 1'), [1])
    await hasty.stop()
    t.same(await query(postgres.url, 'select 1'), [1])
    await postgres.stop()
  }
)

t.test(
  'a start that is not exclusive shares the server, and stops it only if nobody else uses it',
  async t => {
    const dir = await folder(t)
    const owner = await start(dir, { settings })
    const guest = await start(dir, { isExclusive: false })
    t.match(guest, { isAdopted: false, url: owner.url })
    await guest.stop()
    t.same(await query(owner.url, 'select 1'), [1])
    await owner.stop()

    const alone = await start(dir, { isExclusive: false, settings })
    const other = await start(dir, { isExclusive: false })
    await alone.stop()
    t.same(await query(alone.url, 'select 1'), [1], 'another one is at it')
    await other.stop()
    const heir = await start(dir)
    t.equal(heir.isAdopted, true)
    await heir.stop()

    const last = await start(dir, { isExclusive: false, settings })
    await last.stop()
    await t.rejects(query(last.url, 'select 1'), { code: 'ECONNREFUSED' })
  }
)

t.test('a process ends by itself after stop, and a server does not keep its process alive', async t => {
  const dir = await folder(t)
  const program = (rest: string) => [
    ...nodeOptions,
    '--input-type=module',
    '-e',
    `import { start } from ${JSON.stringify(library)}
    const postgres = await start(${JSON.stringify(dir)}, ${JSON.stringify({ settings })})
    ${rest}`
  ]
  await run(process.execPath, program('await postgres.stop()'), { timeout: 60_000 })
  t.notOk(await exists(join(dir, 'pg', 'postmaster.pid')))
  await run(process.execPath, program(''), { timeout: 60_000 })
  const next = await start(dir)
  t.equal(next.isAdopted, true)
  await next.stop()
})

t.test('every error message says what to do', async t => {
  const dir = await folder(t)
  await t.rejects(start(dir, { settings: [...settings, 'nonsense=1'] }), {
    name: 'EmbeddedPostgresError',
    message: /^PostgreSQL did not start: unrecognized configuration parameter "nonsense" \(see .*pg\.log\)$/
  })
  await fs.writeFile(join(dir, 'pg-password'), 'another')
  await t.rejects(start(dir, { settings }), {
    name: 'EmbeddedPostgresError',
    message: /^the password in .*pg-password does not fit/
  })
  t.notOk(await exists(join(dir, 'pg', 'postmaster.pid')), 'and nothing is left running')
  await t.rejects(start(join(dir, 'pg-password')), {
    name: 'EmbeddedPostgresError',
    message: /^the folder .*pg-password cannot be used: EEXIST/
  })
  t.match(await service(t, dir, { arch: 'abacus' }).answer, {
    refusal: 'EmbeddedPostgresError: no embedded PostgreSQL for this platform: set DATABASE_URL'
  })
})

// The folders above the compiled module and above the binaries decide whether another user can use them.
const reachable =
  isRoot &&
  (await run(
    'sh',
    ['-c', 'test -r "$0" && test -r "$1"', fileURLToPath(library), fileURLToPath(import.meta.resolve('pg'))],
    { uid: nobody, gid: nobody }
  ).then(
    () => true,
    () => false
  ))

t.test(
  'an ordinary user runs the server directly',
  { skip: !reachable && 'needs root, and a checkout that other users can read' },
  async t => {
    const dir = await folder(t, 0o755)
    await fs.mkdir(dir, { mode: 0o700 })
    await fs.chown(dir, nobody, nobody)
    const owner = service(t, dir, { uid: nobody })
    t.match(await owner.answer, { url: /^postgres:/, isAdopted: false })
    t.equal((await fs.stat(join(dir, 'pg'))).uid, nobody)
    t.equal(await owner.end(), 0)

    const root = await start(dir, { settings })
    t.equal((await fs.stat(join(dir, 'pg'))).uid, nobody, 'root runs it as the owner, who can go on with it')
    await root.stop()
  }
)

t.test(
  'root without user namespaces runs the server as nobody, or gets an error that says what to do',
  { skip: isRoot ? onlyInSoak.skip : 'needs root' },
  async t => {
    const dir = await folder(t, 0o755)
    const bin = join(dirname(dir), 'bin')
    await fs.mkdir(bin)
    await fs.writeFile(join(bin, 'unshare'), '#!/bin/sh\nexit 1\n', { mode: 0o755 })
    const path = [bin, process.env.PATH].join(delimiter)
    const before = await start(dir, { settings })
    await query(before.url, keep)
    await before.stop()
    const owner = service(t, dir, { path })
    const { url, refusal } = await owner.answer
    if (!reachable) {
      t.match(
        refusal,
        /^EmbeddedPostgresError: PostgreSQL cannot run as this user \(uid 0\) here: set DATABASE_URL/
      )
      return
    }
    t.same(await query(url, kept), [42], 'what was made in a namespace is usable')
    t.same(
      [
        (await fs.stat(join(dir, 'pg'))).uid,
        (await fs.stat(join(dir, 'pg', 'base'))).uid,
        (await fs.stat(dir)).mode & 0o777
      ],
      [nobody, nobody, 0o711]
    )
    await query(url, 'update kept set answer = 43')
    t.equal(await owner.end(), 0)

    const after = await start(dir, { settings })
    t.same(await query(after.url, kept), [43], 'and the other way round')
    await after.stop()
    await fs.chmod(dirname(dir), 0o700)
    t.match(
      await service(t, dir, { path }).answer,
      { refusal: /^EmbeddedPostgresError: PostgreSQL cannot run as this user/ },
      'nobody cannot enter'
    )
    const inside = await start(dir, { settings })
    t.equal((await fs.stat(join(dir, 'pg'))).uid, 0)
    t.same(await query(inside.url, kept), [43])
    await inside.stop()

    const fresh = await folder(t, 0o755)
    t.match(await service(t, fresh, { path }).answer, { url: /^postgres:/ }, 'a first start as nobody')
  }
)
