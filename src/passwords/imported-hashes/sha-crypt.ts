import { timingSafeEqual } from 'node:crypto'
import { extname } from 'node:path'
import { Worker } from 'node:worker_threads'
import type { ForeignHash } from './imported-hash.ts'

const form = /^\$(5|6)\$(?:rounds=(\d{1,9})\$)?([^$:\s]{1,16})\$([./A-Za-z0-9]{43}|[./A-Za-z0-9]{86})$/
const mostRounds = 1_000_000

/** What the worker is asked for, and what it answers. */
export interface Task { id: number, digest: 'sha256' | 'sha512', password: string, salt: string, rounds: number }
export interface Answer { id: number, text: string }

/** SHA-crypt, of the shadow files of Linux: `$5$` with SHA-256, `$6$` with SHA-512. */
export function read (hash: string): ForeignHash | undefined {
  const [, kind, given = '5000', salt, expected = ''] = form.exec(hash) ?? []
  const digest = kind === '5' ? 'sha256' : 'sha512'
  if (salt === undefined || expected.length !== (kind === '5' ? 43 : 86)) return undefined
  const rounds = Math.max(1000, Number(given))
  return {
    excess: rounds > mostRounds ? `its rounds are more than ${mostRounds}` : undefined,
    memoryKib: 1,
    matches: async password => timingSafeEqual(Buffer.from(await ask({ digest, password, salt, rounds })), Buffer.from(expected))
  }
}

interface Waiting { resolve: (text: string) => void, reject: (error: Error) => void }
const waiting = new Map<number, Waiting>()
let worker: Worker | undefined
let last = 0

// Thousands of rounds, each a call: they would hold up the event loop. One thread does them all, from the first on.
async function ask (task: Omit<Task, 'id'>): Promise<string> {
  worker ??= start()
  const id = ++last
  const answer = new Promise<string>((resolve, reject) => { waiting.set(id, { resolve, reject }) })
  worker.ref()
  worker.postMessage({ ...task, id } satisfies Task)
  try {
    return await answer
  } finally {
    waiting.delete(id)
    if (waiting.size === 0) worker?.unref()
  }
}

function start (): Worker {
  const started = new Worker(new URL(`./sha-crypt-worker${extname(import.meta.url)}`, import.meta.url))
  started.on('message', ({ id, text }: Answer) => waiting.get(id)?.resolve(text))
  started.on('error', error => {
    worker = undefined
    for (const { reject } of waiting.values()) reject(error)
  })
  return started
}
