import { parseArgs } from 'node:util'
import type { Config } from '../config/config.ts'
import { wrapText } from '../syntax/wrapping.ts'

/** The result of a command, as text for a person and as data for a program. */
export interface CommandResult {
  text: string
  data: unknown
  /** The exit code; 0 by default. */
  code?: number
}

/** The arguments do not fit the command. */
export class UsageError extends Error {}

export interface Option {
  type: 'boolean' | 'string'
  multiple?: boolean
  short?: string
  /** The name of its value in the help. */
  value?: string
  description: string
}
type Options = Record<string, Option>

/** An argument without the name of an option. */
export interface Operand { value: string, description: string }

/** The options of every command. */
export const generalOptions = {
  json: { type: 'boolean', description: 'print the result as JSON' },
  help: { type: 'boolean', short: 'h', description: 'show this help, or the help of a command' },
  version: { type: 'boolean', description: 'show the version' }
} as const satisfies Options

/** Runs a command. The result is undefined while the service runs, or if everything is printed already. */
type Run = (config: Config) => Promise<CommandResult | undefined>

type OptionValues<Own extends Options> = ReturnType<typeof parseArgs<{ options: Own }>>['values']

interface Definition<Own extends Options> {
  usage: string
  description: string
  /** A command line that the help shows as an example. */
  example?: string
  /** None by default. All of them are required. */
  operands?: Operand[]
  options: Own
  /** What to run for these options and operands. Throws a UsageError if they do not fit together. */
  plan: (values: OptionValues<Own>, operands: string[]) => Run
}

export interface Command {
  help: string
  description: string
  /** Throws a UsageError if the arguments, without the command's name, do not fit. */
  parse: (args: string[]) => Run
}

/** A command whose `plan` knows the types of its options. */
export function defineCommand<const Own extends Options> (definition: Definition<Own>): Command {
  const { description, operands = [], options, plan } = definition
  return {
    help: formatHelp(definition),
    description,
    parse (args) {
      let values
      let words: string[]
      try {
        const allOptions = { ...generalOptions, ...options }
        const parsed = parseArgs({ args, allowPositionals: operands.length > 0, options: allOptions })
        values = parsed.values
        words = parsed.positionals
      } catch (error) {
        throw new UsageError(error instanceof Error ? error.message : String(error))
      }
      if (words.length !== operands.length) {
        const expected = operands.map(({ value }) => value).join(' and ')
        const actual = words.length === 0 ? 'none was given' : `${words.join(' ')} was given`
        throw new UsageError(`The command needs ${expected}, but ${actual}.`)
      }
      return plan(values as OptionValues<Own>, words)
    }
  }
}

const operandWidth = 12

function formatHelp<Own extends Options> (
  { usage, description, example, operands = [], options }: Definition<Own>
): string {
  const operandLines = operands.map(
    ({ value, description }) => `  ${value.padEnd(operandWidth)}${description}`
  )
  return [
    `Usage: ${usage}`,
    description,
    ...operandLines.length > 0 ? [operandLines.join('\n')] : [],
    ...Object.keys(options).length > 0 ? [`Options:\n${formatOptions(options)}`] : [],
    ...example === undefined ? [] : [`Example:\n  ${example}`]
  ].join('\n\n') + '\n'
}

const minNameWidth = 9
/** Fits a terminal of 80 columns. */
const maxLineLength = 80

/** Options as lines of a help text. */
export function formatOptions (options: Options): string {
  const names = Object.entries(options).map(
    ([name, { value }]) => `--${name}${value === undefined ? '' : ` ${value}`}`
  )
  const width = Math.max(minNameWidth, ...names.map(name => name.length)) + 3
  const descriptions = Object.values(options).map(({ description }) => description)
  const indent = ' '.repeat(width + 2)
  return descriptions.map((description, index) => {
    const lines = wrapText(description, maxLineLength - indent.length)
    return `  ${(names[index] ?? '').padEnd(width)}${lines.join(`\n${indent}`)}`
  }).join('\n')
}
