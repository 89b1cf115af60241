import { timingSafeEqual } from 'node:crypto'
import { extname } from 'node:path'
import { Worker } from 'node:worker_threads'
import type { ImportedHash } from './imported-hash.ts'

const format = /^\$(5|6)\$(?:rounds=(\d{1,9})\$)?([^$:\s]{1,16})\$([./A-Za-z0-9]{43}|[./A-Za-z0-9]{86})$/
const defaultRounds = '5000'
const minRounds = 1_000
const maxRounds = 1_000_000

/** A message to the worker, and its response. */
export interface ShaCryptTask {
  id: number
  digest: 'sha256' | 'sha512'
  password: string
  salt: string
  rounds: number
}
export interface ShaCryptResult { id: number, text: string }

/** Parses a SHA-crypt hash of Linux's shadow files: `$5$` with SHA-256, `$6$` with SHA-512. */
export function parseHash (hash: string): ImportedHash | undefined {
  const [, kind, roundText = defaultRounds, salt, expected = ''] = format.exec(hash) ?? []
  const digest = kind === '5' ? 'sha256' : 'sha512'
  if (salt === undefined || expected.length !== (kind === '5' ? 43 : 86)) return undefined
  const rounds = Math.max(minRounds, Number(roundText))
  return {
    exceededLimit: rounds > maxRounds ? `it takes more than ${maxRounds} rounds` : undefined,
    memoryKib: 1,
    async matches (password) {
      const text = await cryptInWorker({ digest, password, salt, rounds })
      return timingSafeEqual(Buffer.from(text), Buffer.from(expected))
    }
  }
}

interface PendingTask { resolve: (text: string) => void, reject: (error: Error) => void }
const pendingTasks = new Map<number, PendingTask>()
let worker: Worker | undefined
let lastId = 0

// Each of thousands of rounds is a call, which would block the event loop, so one worker thread does them
// all.
async function cryptInWorker (task: Omit<ShaCryptTask, 'id'>): Promise<string> {
  worker ??= startWorker()
  const id = ++lastId
  const result = new Promise<string>((resolve, reject) => { pendingTasks.set(id, { resolve, reject }) })
  worker.ref()
  worker.postMessage({ ...task, id } satisfies ShaCryptTask)
  try {
    return await result
  } finally {
    pendingTasks.delete(id)
    if (pendingTasks.size === 0) worker?.unref()
  }
}

// When the service runs from source, a worker of Node.js 20 does not inherit the loader that reads
// TypeScript.
const registerTsxFor = (file: URL): string => `
  import(${JSON.stringify(import.meta.resolve('tsx/esm/api'))}).then(({ register }) => {
    register()
    return import(${JSON.stringify(file.href)})
  })`

function startWorker (): Worker {
  const extension = extname(import.meta.url)
  const file = new URL(`./sha-crypt-worker${extension}`, import.meta.url)
  const started = extension === '.ts' ? new Worker(registerTsxFor(file), { eval: true }) : new Worker(file)
  started.on('message', ({ id, text }: ShaCryptResult) => pendingTasks.get(id)?.resolve(text))
  started.on('error', error => {
    worker = undefined
    for (const { reject } of pendingTasks.values()) reject(error)
  })
  return started
}
