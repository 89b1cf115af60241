import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as pause } from 'node:timers/promises'

// The first service installs its packages before it starts.
const startTimeoutMs = 1_200_000
const pollIntervalMs = 100

/** Services that a reader has running in other terminals, by the origin at which each answers. */
export class BackgroundServices {
  readonly #folder: string
  readonly #services = new Map<string, ChildProcess>()

  constructor (folder: string) {
    this.#folder = folder
  }

  isRunning (url: string): boolean {
    return this.#services.has(new URL(url).origin)
  }

  /** Runs commands until they answer at the URL, in place of the service that ran at its origin before. */
  async start (commands: string, url: string): Promise<void> {
    const { origin } = new URL(url)
    await this.#stop(origin)
    // A process group of its own, as a terminal makes one for a command.
    const service = spawn('bash', ['-c', commands], {
      cwd: this.#folder, stdio: ['ignore', 'inherit', 'inherit'], detached: true
    })
    this.#services.set(origin, service)
    const deadline = performance.now() + startTimeoutMs
    while (service.exitCode === null && performance.now() < deadline) {
      if (await fetch(url).then(({ ok }) => ok, () => false)) return
      await pause(pollIntervalMs)
    }
    throw new Error(`the service at ${url} did not start`)
  }

  async stopAll (): Promise<void> {
    for (const origin of [...this.#services.keys()]) await this.#stop(origin)
  }

  /** Does what Ctrl-C does: the whole process group gets the signal. */
  async #stop (origin: string): Promise<void> {
    const service = this.#services.get(origin)
    if (service?.pid === undefined) return
    this.#services.delete(origin)
    if (service.exitCode !== null || service.signalCode !== null) return
    const ended = once(service, 'exit')
    process.kill(-service.pid, 'SIGINT')
    await ended
  }
}
