import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { commandOf } from '../test/support/program.ts'

interface TestWorker {
  child: ChildProcess
  /** The lines that it prints. */
  lines: AsyncIterator<string>
  /** Resolves with its exit code and signal. */
  closed: Promise<Array<number | string | null>>
}

export interface WorkerOptions {
  env: NodeJS.ProcessEnv
  /** Seconds after which a file fails. */
  fileTimeoutSeconds: number
  /** Milliseconds after which a worker is killed, if its file has not ended. */
  endedAfterMs: number
}

/** The output of a test file. */
export interface FileOutput {
  tap: string
  /** Whether its process reached the end of the file. */
  hasEnded: boolean
}

/** Processes that run one test file after the other. Each file has a worker for itself while it runs. */
export class TestWorkers {
  readonly #options: WorkerOptions
  readonly #idle: TestWorker[] = []

  constructor (options: WorkerOptions) {
    this.#options = options
  }

  /** Runs a file in an idle worker, or in a new one. */
  async run (file: string): Promise<FileOutput> {
    const worker = this.#idle.pop() ?? this.#start()
    const { child, lines } = worker
    child.stdin?.write(`${file}\n`)
    const timer = setTimeout(() => child.kill('SIGKILL'), this.#options.endedAfterMs)
    const printed: string[] = []
    for (;;) {
      const { value: line, done } = await lines.next()
      const hasEnded = line === `# end of ${file}`
      if (done || hasEnded) {
        clearTimeout(timer)
        if (hasEnded) this.#idle.push(worker)
        return { tap: printed.join('\n'), hasEnded }
      }
      printed.push(String(line))
    }
  }

  /**
   * Ends the workers. Returns what they print after their last file. A worker has not ended if it was killed,
   * because a test had left something open, or if it ended by itself.
   */
  async close (): Promise<FileOutput[]> {
    return await Promise.all(this.#idle.map(async ({ child, lines, closed }) => {
      const isAlive = child.exitCode === null && child.signalCode === null
      const timer = setTimeout(() => child.kill('SIGKILL'), 60_000)
      child.stdin?.end()
      const printed: string[] = []
      for (let line = await lines.next(); !line.done; line = await lines.next()) printed.push(line.value)
      const [, signal] = await closed
      clearTimeout(timer)
      return { tap: printed.join('\n'), hasEnded: isAlive && signal === null }
    }))
  }

  #start (): TestWorker {
    const { env, fileTimeoutSeconds } = this.#options
    const child = spawn(process.execPath, commandOf('scripts/test-worker.ts'), {
      // `tap` would end the worker after a time for all files together.
      env: { ...env, FILE_TIMEOUT_SECONDS: String(fileTimeoutSeconds), TAP_TIMEOUT: '0' },
      stdio: ['pipe', 'pipe', 'inherit']
    })
    child.stdin.on('error', () => {})
    const closed = once(child, 'close')
    return { child, closed, lines: createInterface({ input: child.stdout })[Symbol.asyncIterator]() }
  }
}
