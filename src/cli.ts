#!/usr/bin/env node
import { EventEmitter } from 'node:events'
import { parseArgs } from 'node:util'
import { ConfigError, environment, load, type Config } from './config.ts'
import { version } from './version.ts'

interface Command {
  usage: string
  meaning: string
  /** What to tell: lines for a person, and the same as data for a program. */
  run: (config: Config) => Promise<{ text: string, data: unknown } | undefined>
}

// Caught from the first moment, for as process 1 of a container a signal without a handler is ignored; and by one
// handler for good, for a signal that waits to be delivered is lost when its handler is exchanged.
const signals = new EventEmitter()
for (const [signal, code] of [['SIGTERM', 143], ['SIGINT', 130]] as const) {
  process.on(signal, () => { if (!signals.emit(signal)) process.exit(code) })
}

// What a command needs is loaded when it runs, so that checking a configuration does not start a server's worth of code.
const commands: Record<string, Command> = {
  serve: {
    usage: 'latchkey serve',
    meaning: 'Run the service.',
    async run (config) {
      const { serve } = await import('./server.ts')
      await serve(config, signals)
      return undefined
    }
  },
  migrate: {
    usage: 'latchkey migrate [--json]',
    meaning: 'Bring the database schema up to date.',
    async run (config) {
      const { migrate } = await import('./migrate.ts')
      const applied = await withDatabase(config, url => migrate(url))
      return { text: applied.length > 0 ? `Applied ${applied.join(', ')}.` : 'The database schema is up to date.', data: { applied } }
    }
  },
  'config check': {
    usage: 'latchkey config check [--json]',
    meaning: 'Check the configuration, and start nothing.',
    async run () {
      return { text: 'The configuration is usable.', data: { ok: true } }
    }
  }
}

const help = () => `Latchkey ${version}, a login service.

Usage: latchkey <command> [options]

${Object.values(commands).map(({ usage, meaning }) => `  ${usage.padEnd(34)}${meaning}`).join('\n')}

Options:
  --json      tell the result as JSON
  --help      show this, or the usage of a command
  --version   show the version

The configuration comes from the environment and, in development, from .env; .env.example lists it.
Exit codes: 0 done, 1 failed, 2 wrong usage, 78 the configuration is not usable.
`

async function withDatabase<T> (config: Config, work: (url: string) => Promise<T>): Promise<T> {
  if (config.databaseUrl !== undefined) return await work(config.databaseUrl)
  const [embeddedPostgres, { dataFolder }] = await Promise.all([import('./embedded-postgres.ts'), import('./server.ts')])
  const database = await embeddedPostgres.start(dataFolder, { exclusive: false })
  try {
    return await work(database.url)
  } finally {
    await database.stop()
  }
}

/** Runs a command line; gives the exit code, or undefined while the service runs. */
async function main (args: string[]): Promise<number | undefined> {
  let parsed
  try {
    parsed = parseArgs({ args, allowPositionals: true, options: { json: { type: 'boolean' }, help: { type: 'boolean', short: 'h' }, version: { type: 'boolean' } } })
  } catch (error) {
    return tell(2, `${(error as Error).message}\n\n${help()}`)
  }
  const { positionals, values: { json = false, help: asked, version: versionAsked } } = parsed
  const name = positionals.join(' ')
  const command = Object.hasOwn(commands, name) ? commands[name] : undefined
  if (versionAsked) return tell(0, `${version}\n`)
  if (asked) return tell(0, command ? `${command.usage}\n\n${command.meaning}\n` : help())
  if (!command) return tell(2, `${name === '' ? 'No command was given.' : `There is no command "${name}".`}\n\n${help()}`)
  try {
    const result = await command.run(load(environment()))
    return result && tell(0, json ? JSON.stringify(result.data) + '\n' : result.text + '\n')
  } catch (error) {
    const code = error instanceof ConfigError ? 78 : 1
    const { message } = error as Error
    if (json) return tell(code, JSON.stringify({ error: message, ...error instanceof ConfigError && { problems: error.problems } }) + '\n')
    return tell(code, `${message || String(error)}\n`)
  }
}

function tell (code: number, text: string): number {
  (code === 0 ? process.stdout : process.stderr).write(text)
  return code
}

const code = await main(process.argv.slice(2))
if (code !== undefined) process.exit(code)
