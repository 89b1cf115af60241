import { EventEmitter } from 'node:events'
import { parseArgs } from 'node:util'
import { calibrate } from './cli/calibrate.ts'
import * as clients from './cli/clients.ts'
import { command, general, listed, UsageError, type Command } from './cli/command.ts'
import { withUrl } from './cli/database.ts'
import * as keys from './cli/keys.ts'
import { create as createUser } from './cli/new-user.ts'
import * as sessions from './cli/sessions.ts'
import * as users from './cli/users.ts'
import { ConfigError, environment, exitCode, load } from './config/config.ts'
import { Problem } from './http/problem.ts'
import type { PrivilegeReport } from './database/migrate.ts'
import { version } from './version.ts'

// Caught from the first moment, for as process 1 of a container a signal without a handler is ignored; and by one
// handler for good, for a signal that waits to be delivered is lost when its handler is exchanged.
const signals = new EventEmitter()
for (const [signal, code] of [['SIGTERM', 143], ['SIGINT', 130]] as const) {
  process.on(signal, () => { if (!signals.emit(signal)) process.exit(code) })
}

// What a command needs is loaded when it runs, so that checking a configuration does not start a server's worth of code.
const commands: Record<string, Command> = {
  serve: command({
    usage: 'latchkey serve',
    meaning: 'Run the service.',
    options: {},
    plan: () => async config => {
      const { serve } = await import('./server.ts')
      await serve(config, signals)
      return undefined
    }
  }),
  migrate: command({
    usage: 'latchkey migrate [--json]',
    meaning: 'Bring the database schema up to date.',
    options: {},
    plan: () => async config => {
      const [{ migrate }, { describe }] = await Promise.all([
        import('./database/migrate.ts'), import('./database/privileges.ts')])
      let report: PrivilegeReport | undefined
      const applied = await withUrl(config, async url => await migrate(url, undefined, {
        ownerUrl: config.databaseOwnerUrl,
        onPrivileges: found => { report = found }
      }))
      const upToDate = 'The database schema is up to date.'
      const done = applied.length > 0 ? `Applied ${applied.join(', ')}.` : upToDate
      const { repaired = [], remaining = [] } = report ?? {}
      const data = { applied, repaired: repaired.map(describe), remaining: remaining.map(describe) }
      const lines = [
        done,
        ...data.repaired.map(({ object, problem }) => `Repaired: ${object}: ${problem}.`),
        ...data.remaining.map(({ object, problem, sql }) =>
          `Not repaired: ${object}: ${problem}. Run as its owner or as a superuser: ${sql};`)
      ]
      return { text: lines.join('\n'), data }
    }
  }),
  'keys list': keys.list,
  'keys rotate': keys.rotate,
  'clients create': clients.create,
  'clients list': clients.list,
  'sessions end': sessions.end,
  'users create': createUser,
  'users import': users.importAll,
  'users export': users.exportAll,
  calibrate,
  'config check': command({
    usage: 'latchkey config check [--json]',
    meaning: 'Check the configuration, and start nothing.',
    options: {},
    plan: () => async ({ passwords: { build }, mail }) => {
      const [{ selectBuild }, templates] = await Promise.all([import('./passwords/argon2id.ts'), import('./mail/templates.ts')])
      await selectBuild(build)
      templates.readTemplates(mail.templates)
      return { text: 'The configuration is usable.', data: { ok: true } }
    }
  })
}

const help = () => `Latchkey ${version}, a login service.

Usage: latchkey <command> [options]

${Object.entries(commands).map(([name, { meaning }]) => `  ${`latchkey ${name}`.padEnd(25)}${meaning}`).join('\n')}

Options:
${listed(general)}

The configuration comes from the environment and, in development, from .env; .env.example lists it.
Exit codes: 0 done, 1 failed, 2 wrong usage, 78 the configuration is not usable.
`

/** Runs a command line; gives the exit code, or undefined while the service runs. */
async function main (args: string[]): Promise<number | undefined> {
  // What is asked of any command. The values of its own options count as words here, which it parses itself.
  const { positionals: words, values: { json, help: helpAsked, version: versionAsked } } = parseArgs({ args, strict: false, options: { json: general.json, help: { type: 'boolean' }, version: general.version } })
  const name = Object.keys(commands).find(name => name === words.slice(0, name.split(' ').length).join(' '))
  const command = name === undefined ? undefined : commands[name]
  if (versionAsked) return tell(0, `${version}\n`)
  if (helpAsked || args.includes('-h')) return tell(0, command?.help ?? help())
  if (name === undefined || !command) return tell(2, `${words.length === 0 ? 'No command was given.' : `There is no command "${words.join(' ')}".`}\n\n${help()}`)
  try {
    const run = command.parse(without(args, name.split(' ')))
    const result = await run(load(environment()))
    return result && tell(result.code ?? 0, `${json ? JSON.stringify(result.data) : result.text}\n`, process.stdout)
  } catch (error) {
    if (error instanceof UsageError) return tell(2, `${error.message}\n\n${command.help}`)
    // What a client may see of a fault of the database says nothing to whoever runs it.
    const { message } = (error instanceof Problem && error.cause instanceof Error ? error.cause : error) as Error
    return tell(exitCode(error), json ? JSON.stringify({ error: message, ...error instanceof ConfigError && { problems: error.problems } }) + '\n' : `${message || String(error)}\n`)
  }
}

/** The arguments but the first of each of these. */
function without (args: string[], words: string[]): string[] {
  const [word, ...others] = words
  if (word === undefined) return args
  const at = args.indexOf(word)
  return [...args.slice(0, at), ...without(args.slice(at + 1), others)]
}

function tell (code: number, text: string, stream = code === 0 ? process.stdout : process.stderr): number {
  stream.write(text)
  return code
}

const code = await main(process.argv.slice(2))
if (code !== undefined) process.exit(code)
