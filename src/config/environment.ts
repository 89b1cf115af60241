import { readFileSync } from 'node:fs'
import { parseEnv } from 'node:util'
import { ConfigError } from './config-error.ts'

export type Environment = Record<string, string | undefined>

/** The process's environment over the `.env` of its folder. In production `.env` is not read. */
export function environment (): Environment {
  if (process.env['NODE_ENV'] === 'production') return process.env
  try {
    return { ...parseEnv(readFileSync('.env', 'utf8').replace(/^\uFEFF/, '')), ...process.env }
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return process.env
    throw new ConfigError([`.env cannot be read: ${String(error)}`])
  }
}

/**
 * The size of the thread pool for hashing, files and host names. libuv reads it itself, so `.env` has no
 * effect.
 */
export function threads (): number {
  const text = process.env['UV_THREADPOOL_SIZE']
  return text === undefined ? 4 : Math.min(Math.max(Number.parseInt(text) || 1, 1), 1_024)
}

/** Runs `work` while the environment has a variable, for a package that cannot be configured otherwise. */
export function withVariable<Result> (name: string, value: string, work: () => Result): Result {
  const before = process.env[name]
  process.env[name] = value
  try {
    return work()
  } finally {
    if (before === undefined) delete process.env[name]
    else process.env[name] = before
  }
}

/** The value of a secret: from its variable, or from the file that the variable with `_FILE` names. */
export function readSecret (environment: Environment, name: string): string | undefined {
  const text = environment[name]?.trim()
  const file = environment[`${name}_FILE`]?.trim()
  if (!file) return text
  if (text) throw new Error(`and ${name}_FILE are both set: keep one`)
  let content
  try {
    content = readFileSync(file, 'utf8').trim()
  } catch (error) {
    // The message does not repeat the file's name, which may be the secret itself in the wrong variable.
    throw new Error(`cannot be read from the file that ${name}_FILE names: ${codeOf(error)}`)
  }
  if (content === '') throw new Error(`is empty in the file that ${name}_FILE names`)
  return content
}

const codeOf = (error: unknown): string => error instanceof Error && 'code' in error ? String(error.code) : ''

/** Whether the user has not switched colours off (https://no-color.org). */
export const isColorWanted = (): boolean => !process.env['NO_COLOR'] && process.env['TERM'] !== 'dumb'
