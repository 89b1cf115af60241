import type { RefusedRefresh } from '../sessions/problems.ts'
import { wrapText } from '../syntax/wrapping.ts'
import { createPalette, escapeControls, type Palette } from './terminal-text.ts'

export interface TerminalLogOptions {
  write: (text: string) => void
  isColored: boolean
  /** The width of the terminal, which can change. */
  columns: () => number
}

/** The log for a person: takes the lines of JSON that pino writes, and writes them as text. */
export interface TerminalLog {
  /** Takes a line of JSON. */
  write: (line: string) => void
  /** Writes a text as it is. */
  print: (text: string) => void
}

interface LogEntry {
  level: number
  time: number
  msg?: string
  request_id?: string
  code?: string
  err?: LoggedError
  mail?: LoggedMail
  [field: string]: unknown
}
interface LoggedError { type?: string, message?: string, code?: string, stack?: string, cause?: LoggedError }
interface LoggedMail { kind: string, to: string, subject: string, link?: string | null }

const [infoLevel, warnLevel, errorLevel] = [30, 40, 50]
/** The message of Fastify when it listens. */
export const listeningMessage = 'listening on'

// Below the time of the first line.
const margin = ' '.repeat('00:00:00 '.length)

// Causes wait for the line of their request. A request that never ends must not keep memory for ever.
const maxCauses = 1_000

/** The log for a terminal. It writes one line for a request, with the cause of its refusal. */
export function createTerminalLog ({ write, isColored, columns }: TerminalLogOptions): TerminalLog {
  const palette = createPalette(isColored)
  const causes = new Map<string, string>()

  function format (entry: LogEntry): string | undefined {
    if (entry.msg === 'request') return formatRequest(entry, takeCause(entry), palette)
    // The banner says it.
    if (entry.msg?.startsWith(listeningMessage)) return undefined
    // The cause of a refusal stands in the line of its request.
    if (entry.level <= infoLevel && entry.code !== undefined && entry.request_id !== undefined) {
      if (causes.size >= maxCauses) causes.clear()
      causes.set(entry.request_id, causeOf(entry))
      return undefined
    }
    return entry.mail === undefined
      ? formatMessage(entry, palette, columns() - margin.length)
      : formatMail(entry.time, entry.mail, palette)
  }

  function takeCause ({ request_id: id = '' }: LogEntry): string {
    const cause = causes.get(id) ?? ''
    causes.delete(id)
    return cause
  }

  return {
    write (line) {
      const text = format(JSON.parse(line))
      if (text !== undefined) write(`${text}\n`)
    },
    print: write
  }
}

const pad = (value: number) => String(value).padStart(2, '0')

function clock (time: number): string {
  const date = new Date(time)
  return [date.getHours(), date.getMinutes(), date.getSeconds()].map(pad).join(':')
}

function causeOf ({ err, cause }: LogEntry): string {
  if (isRefusedRefresh(cause)) return refusalOf(cause)
  return typeof cause === 'string' ? cause : err?.message ?? ''
}

const isRefusedRefresh = (cause: unknown): cause is RefusedRefresh =>
  typeof cause === 'object' && cause !== null && 'presented' in cause && 'replayed' in cause

function refusalOf ({ presented, confirmed, replayed }: RefusedRefresh): string {
  if (replayed) return `reuse of token ${presented}, although token ${confirmed} is current: session ended`
  if (confirmed === null) return 'the session has ended or expired'
  return presented < confirmed
    ? `token ${presented} is superseded, token ${confirmed} is current; within the grace period`
    : 'the token is superseded or expired, or its session has expired'
}

function formatRequest (entry: LogEntry, cause: string, palette: Palette): string {
  const { time, method, path, route, status, ms, code } = entry
  const paint = Number(status) >= 500 ? palette.red : Number(status) >= 400 ? palette.yellow : palette.green
  const parts = [
    palette.dim(clock(time)),
    String(method ?? '-').padEnd('OPTIONS'.length),
    // The client had gone before there was an answer.
    paint(String(status ?? 'gone').padEnd(4)),
    palette.dim((ms === undefined ? '' : `${Math.round(Number(ms))} ms`).padStart(7)),
    escapeControls(String(path ?? route ?? '(not valid HTTP)')),
    ...code === undefined ? [] : [paint(code)],
    ...cause === '' ? [] : [palette.dim(`(${escapeControls(cause)})`)]
  ]
  return parts.join(' ')
}

function formatMail (time: number, { to, subject, link }: LoggedMail, palette: Palette): string {
  const head = `${palette.dim(clock(time))} ${palette.cyan('mail')} to ${escapeControls(to)}: ` +
    `${escapeControls(subject)}`
  return link ? `${head}\n${link}` : head
}

// What every line has, and what is of no use on a terminal.
const hiddenFields = new Set(['level', 'time', 'pid', 'hostname', 'msg', 'err', 'request_id', 'stack'])

function formatMessage (entry: LogEntry, palette: Palette, width: number): string {
  const { level, time, msg = '', err } = entry
  const [label, paint] = labelOf(level, palette)
  const fields = Object.entries(entry)
    .filter(
      ([name, value]) => !hiddenFields.has(name) && !Array.isArray(value) && !msg.includes(String(value))
    )
    .map(([name, value]) => `${name}=${typeof value === 'object' ? JSON.stringify(value) : String(value)}`)
  const lines = wrapText(`${label}${escapeControls([msg, ...fields].join(' '))}`, width)
  const details = formatError(err, level >= errorLevel).flatMap(
    line => wrapText(line, width)
  ).map(palette.dim)
  const text = [...lines, ...details].join(`\n${margin}`).replace(label, paint(label))
  return `${palette.dim(clock(time))} ${text}`
}

function labelOf (level: number, { red, yellow }: Palette): [label: string, paint: (text: string) => string] {
  if (level >= errorLevel) return ['error: ', red]
  return level >= warnLevel ? ['warning: ', yellow] : ['', text => text]
}

/** What went wrong, and why; of an unexpected error also where. */
function formatError (error: LoggedError | undefined, withStack: boolean): string[] {
  if (error === undefined) return []
  const { message = '', stack = '', cause } = error
  const own = withStack && stack !== '' ? stack.split('\n') : [message]
  // Many errors repeat the message of their cause.
  const isCauseRepeated = Boolean(cause?.message) && message.includes(cause?.message ?? '')
  return [
    ...own.map(line => escapeControls(line.trim())),
    ...formatError(isCauseRepeated ? cause?.cause : cause, false)
  ]
}
