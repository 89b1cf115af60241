import { parseArgs } from 'node:util'
import type { Config } from '../config.ts'

/** What a command has to tell: lines for a person, and the same as data for a program. */
export interface Told { text: string, data: unknown }

/** A command line that is not one. */
export class UsageError extends Error {}

/** An option of a command; `value` is what its value is called. */
export interface Option { type: 'boolean' | 'string', multiple?: boolean, short?: string, value?: string, meaning: string }
type Options = Record<string, Option>

/** The options that every command has. */
export const general = {
  json: { type: 'boolean', meaning: 'tell the result as JSON' },
  help: { type: 'boolean', short: 'h', meaning: 'show this, or the usage of a command' },
  version: { type: 'boolean', meaning: 'show the version' }
} as const satisfies Options

/** Gives nothing while the service runs. */
type Work = (config: Config) => Promise<Told | undefined>

type Values<Own extends Options> = ReturnType<typeof parseArgs<{ options: Own }>>['values']

interface Definition<Own extends Options> {
  usage: string
  meaning: string
  options: Own
  /** What is to be done with the options; throws a UsageError where they do not fit each other. */
  plan: (values: Values<Own>) => Work
}

export interface Command {
  help: string
  meaning: string
  /** Throws a UsageError where the arguments, without the command's name, are not its own. */
  parse: (args: string[]) => Work
}

/** A command whose plan knows the types of its options. */
export const command = <const Own extends Options>({ usage, meaning, options, plan }: Definition<Own>): Command => ({
  help: `${usage}\n\n${meaning}\n${Object.keys(options).length > 0 ? `\nOptions:\n${listed(options)}\n` : ''}`,
  meaning,
  parse (args) {
    let values
    try {
      ({ values } = parseArgs({ args, options: { ...general, ...options } }))
    } catch (error) {
      throw new UsageError((error as Error).message)
    }
    return plan(values as Values<Own>)
  }
})

/** Options as lines of a help text. */
export function listed (options: Options): string {
  const names = Object.entries(options).map(([name, { value }]) => `--${name}${value === undefined ? '' : ` ${value}`}`)
  const width = Math.max(9, ...names.map(name => name.length)) + 3
  return Object.values(options).map(({ meaning }, index) => `  ${(names[index] ?? '').padEnd(width)}${meaning}`).join('\n')
}
