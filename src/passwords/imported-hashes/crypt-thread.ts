import { extname } from 'node:path'
import { Worker } from 'node:worker_threads'

// Each of thousands of rounds is a call, which would block the event loop. One worker thread does them all.

interface Task { id: number, password: string, salt: string, rounds: number }
export interface ShaCryptTask extends Task { algorithm: 'sha256' | 'sha512' }
export interface PhpassTask extends Task { algorithm: 'phpass' }
/** A message to the worker, and its response. */
export type CryptTask = ShaCryptTask | PhpassTask
export interface CryptResult { id: number, text: string }
type NewTask = Omit<ShaCryptTask, 'id'> | Omit<PhpassTask, 'id'>

interface PendingTask { resolve: (text: string) => void, reject: (error: Error) => void }
const pendingTasks = new Map<number, PendingTask>()
let worker: Worker | undefined
let lastId = 0

/** Hashes in the worker thread. */
export async function cryptInThread (task: NewTask): Promise<string> {
  worker ??= startWorker()
  const id = ++lastId
  const result = new Promise<string>((resolve, reject) => { pendingTasks.set(id, { resolve, reject }) })
  worker.ref()
  worker.postMessage({ ...task, id } satisfies CryptTask)
  try {
    return await result
  } finally {
    pendingTasks.delete(id)
    releaseIdleWorker()
  }
}

/** Lets the process end while the worker has no task. The worker is undefined if it failed. */
function releaseIdleWorker () {
  if (pendingTasks.size === 0) worker?.unref()
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
  const file = new URL(`./crypt-worker${extension}`, import.meta.url)
  const started = extension === '.ts' ? new Worker(registerTsxFor(file), { eval: true }) : new Worker(file)
  started.on('message', ({ id, text }: CryptResult) => pendingTasks.get(id)?.resolve(text))
  started.on('error', error => {
    worker = undefined
    for (const { reject } of pendingTasks.values()) reject(error)
  })
  return started
}
