import { EventEmitter } from 'node:events'
import { parseArgs } from 'node:util'
import { calibrate } from './cli/calibrate.ts'
import * as clients from './cli/clients.ts'
import { defineCommand, formatOptions, generalOptions, UsageError, type Command } from './cli/command.ts'
import { configCheck } from './cli/config-check.ts'
import * as keys from './cli/keys.ts'
import { migrate } from './cli/migrate.ts'
import { create as createClient } from './cli/new-client.ts'
import { create as createUser } from './cli/new-user.ts'
import { setRoles } from './cli/roles.ts'
import * as sessions from './cli/sessions.ts'
import * as users from './cli/users.ts'
import { ConfigError, exitCode } from './config/config-error.ts'
import { load } from './config/config.ts'
import { environment } from './config/environment.ts'
import { closest } from './config/misspellings.ts'
import { Problem } from './http/problem.ts'
import { version } from './version.ts'

// Handlers are set from the first moment, because process 1 of a container ignores a signal without a
// handler. They are never replaced, because a signal that waits to be delivered is lost when its handler is
// exchanged.
const signals = new EventEmitter()
for (const [signal, code] of [['SIGTERM', 143], ['SIGINT', 130], ['SIGHUP', 129]] as const) {
  process.on(signal, () => { if (!signals.emit(signal)) process.exit(code) })
}

// The modules of a command are loaded when it runs, so that a small command does not load the whole server.
const commands: Record<string, Command> = {
  serve: defineCommand({
    usage: 'latchkey serve',
    description: 'Run the service.',
    options: {},
    plan: () => async config => {
      const { serve } = await import('./server.ts')
      await serve(config, signals)
      return undefined
    }
  }),
  migrate,
  'users create': createUser,
  'users set-roles': setRoles,
  'users import': users.importAll,
  'users export': users.exportAll,
  'sessions end': sessions.end,
  'clients create': createClient,
  'clients list': clients.list,
  'keys list': keys.list,
  'keys rotate': keys.rotate,
  calibrate,
  'config check': configCheck
}
const commandNames = Object.keys(commands)

const nameWidth = 26
const [usageExitCode, successExitCode] = [2, 0]

const groupOf = (name: string | undefined) => commandNames.filter(each => each.split(' ')[0] === name)

/** The help of several commands: a line for each. */
function formatHelp (names = commandNames): string {
  const lines = names.map(name => {
    const [sentence = ''] = commands[name]?.description.split('. ') ?? []
    return `  ${`latchkey ${name}`.padEnd(nameWidth)}${sentence.replace(/\.?$/, '.')}`
  })
  return `Latchkey ${version}, a login service.

Usage: latchkey <command> [options]

${lines.join('\n')}

Options:
${formatOptions(generalOptions)}

The configuration comes from environment variables and, in development, also from .env. See .env.example.
Exit codes: 0 success, 1 failure, 2 wrong usage, 78 invalid configuration.
`
}

/** Runs a command line. Returns the exit code, or undefined while the service runs. */
async function main (args: string[]): Promise<number | undefined> {
  const { help: generalHelp, ...others } = generalOptions
  const options = { ...others, help: { type: generalHelp.type } } as const
  // The values of a command's own options count as words here. The command parses them itself.
  const { positionals, values } = parseArgs({ args, strict: false, options })
  const wantsHelp = values.help === true || args.includes('-h') || positionals[0] === 'help'
  const words = positionals[0] === 'help' ? positionals.slice(1) : positionals
  const name = commandNames.find(name => name === words.slice(0, name.split(' ').length).join(' '))
  const command = name === undefined ? undefined : commands[name]
  if (values.version) return print(successExitCode, `${version}\n`)
  if (wantsHelp) {
    const group = groupOf(words[0])
    if (command) return print(successExitCode, command.help)
    if (words.length === 0) return print(successExitCode, formatHelp())
    if (words.length === 1 && group.length > 0) return print(successExitCode, formatHelp(group))
  }
  if (name === undefined || !command) return print(usageExitCode, explainUnknown(leading(words, args)))
  try {
    const run = command.parse(without(args, name.split(' ')))
    const result = await run(load(environment()))
    if (result === undefined) return undefined
    const text = values.json ? JSON.stringify(result.data) : result.text
    return print(result.code ?? successExitCode, `${text}\n`, process.stdout)
  } catch (error) {
    if (error instanceof UsageError) return print(usageExitCode, `${command.help}\n${error.message}\n`)
    return print(exitCode(error), `${values.json ? JSON.stringify(describe(error)) : messageOf(error)}\n`)
  }
}

/** The help that fits words that are no command. What is wrong with them comes last, where a reader looks. */
function explainUnknown (words: string[]): string {
  if (words.length === 0) return `${formatHelp()}\nNo command was given.\n`
  const given = words.join(' ')
  const group = groupOf(words[0])
  const similar = closest(given, commandNames)
  const meant = (similar === undefined ? group : [similar]).map(name => `"${name}"`)
  const hint = meant.length === 0 ? '' : ` Did you mean ${listOf(meant)}?`
  const help = group.length > 0 ? formatHelp(group) : formatHelp()
  return `${help}\nThere is no command "${given}".${hint}\n`
}

/** The words that come before any option: a later one may be the value of an option. */
function leading (words: string[], args: string[]): string[] {
  const firstOption = args.findIndex(arg => arg.startsWith('-'))
  const before = firstOption < 0 ? args : args.slice(0, firstOption)
  const named = words.filter(word => before.includes(word))
  return named.length > 0 ? named : words
}

const listOf = (choices: string[]) => [choices.slice(0, -1).join(', '), ...choices.slice(-1)]
  .filter(text => text !== '').join(' or ')

/**
 * The text for a person who runs the service. What a client may see of a database error would not help them.
 */
function messageOf (thrown: unknown): string {
  const error = thrown instanceof Problem && thrown.cause instanceof Error ? thrown.cause : thrown
  return error instanceof Error ? error.message || String(error) : String(error)
}

const describe = (error: unknown) =>
  ({ error: messageOf(error), ...error instanceof ConfigError && { problems: error.problems } })

/** The arguments without the first occurrence of each of these words. */
function without (args: string[], words: string[]): string[] {
  const [word, ...others] = words
  if (word === undefined) return args
  const index = args.indexOf(word)
  return [...args.slice(0, index), ...without(args.slice(index + 1), others)]
}

function print (code: number, text: string, stream = code === 0 ? process.stdout : process.stderr): number {
  stream.write(text)
  return code
}

const code = await main(process.argv.slice(2))
if (code !== undefined) process.exit(code)
