import { parseArgs } from 'node:util'
import type { Config } from '../config/config.ts'

/** What a command has to tell: lines for a person, and the same as data for a program. `code` is the exit code where it is not 0. */
export interface Told { text: string, data: unknown, code?: number }

/** A command line that is not one. */
export class UsageError extends Error {}

/** An option of a command; `value` is what its value is called. */
export interface Option { type: 'boolean' | 'string', multiple?: boolean, short?: string, value?: string, meaning: string }
type Options = Record<string, Option>

/** What a command is about, given without the name of an option. */
export interface Operand { value: string, meaning: string }

/** The options that every command has. */
export const general = {
  json: { type: 'boolean', meaning: 'tell the result as JSON' },
  help: { type: 'boolean', short: 'h', meaning: 'show this, or the usage of a command' },
  version: { type: 'boolean', meaning: 'show the version' }
} as const satisfies Options

/** Gives nothing while the service runs, or where all is told. */
type Work = (config: Config) => Promise<Told | undefined>

type Values<Own extends Options> = ReturnType<typeof parseArgs<{ options: Own }>>['values']

interface Definition<Own extends Options> {
  usage: string
  meaning: string
  /** None unless given; all of these must be. */
  operands?: Operand[]
  options: Own
  /** What is to be done with the options and operands; throws a UsageError where they do not fit each other. */
  plan: (values: Values<Own>, operands: string[]) => Work
}

export interface Command {
  help: string
  meaning: string
  /** Throws a UsageError where the arguments, without the command's name, are not its own. */
  parse: (args: string[]) => Work
}

/** A command whose plan knows the types of its options. */
export const command = <const Own extends Options>({ usage, meaning, operands = [], options, plan }: Definition<Own>): Command => ({
  help: `${usage}\n\n${meaning}\n${operands.length > 0 ? `\n${operands.map(({ value, meaning }) => `  ${value.padEnd(12)}${meaning}`).join('\n')}\n` : ''}${Object.keys(options).length > 0 ? `\nOptions:\n${listed(options)}\n` : ''}`,
  meaning,
  parse (args) {
    let values
    let words: string[]
    try {
      ({ values, positionals: words } = parseArgs({ args, allowPositionals: operands.length > 0, options: { ...general, ...options } }))
    } catch (error) {
      throw new UsageError((error as Error).message)
    }
    if (words.length !== operands.length) throw new UsageError(`The command takes ${operands.map(({ value }) => value).join(' and ')}, and was given ${words.length === 0 ? 'none' : words.join(' ')}.`)
    return plan(values as Values<Own>, words)
  }
})

/** Options as lines of a help text. */
export function listed (options: Options): string {
  const names = Object.entries(options).map(([name, { value }]) => `--${name}${value === undefined ? '' : ` ${value}`}`)
  const width = Math.max(9, ...names.map(name => name.length)) + 3
  return Object.values(options).map(({ meaning }, index) => `  ${(names[index] ?? '').padEnd(width)}${meaning}`).join('\n')
}
