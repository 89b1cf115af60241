import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { Redis } from 'ioredis'
import { freePort } from '../../src/database/embedded/server.ts'
import type { Teardown } from './app.ts'
import { temporaryFolder } from './temporary-folder.ts'

/** Where it cannot be run, why tests with Redis are skipped; in CI they are not. */
export const skip = process.env['CI'] !== 'true' && spawnSync('redis-server', ['--version']).error !== undefined ? 'redis-server is not installed' : false

export interface RedisServer {
  url: string
  port: number
  /** Runs one command, on a connection of its own. */
  command: (...words: string[]) => Promise<unknown>
  /** Kills it, and waits until it is gone. */
  kill: () => Promise<void>
  /** Freezes it, or lets it go on. */
  freeze: () => void
  thaw: () => void
  /** Starts it again, with nothing in it. */
  start: () => Promise<void>
}

/** A Redis of its own, that ends with the test. */
export async function redisServer (t: Teardown): Promise<RedisServer> {
  const port = await freePort()
  const url = `redis://127.0.0.1:${port}`
  const dir = temporaryFolder(t)
  let child: ChildProcess
  let ended: Promise<unknown>

  async function command (...words: string[]): Promise<unknown> {
    const [name = '', ...rest] = words
    const redis = new Redis(url, { lazyConnect: true, retryStrategy: null, connectTimeout: 1_000 })
    redis.on('error', () => {})
    try {
      return await redis.call(name, ...rest)
    } finally {
      redis.disconnect()
    }
  }
  async function start () {
    child = spawn('redis-server', ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', dir], { stdio: 'ignore' })
    ended = once(child, 'close').catch(() => {})
    while (await command('ping').catch(() => undefined) !== 'PONG') {
      if (child.exitCode !== null || child.pid === undefined) throw new Error('redis-server does not run')
      await new Promise(resolve => setTimeout(resolve, 10))
    }
  }
  const kill = async () => {
    child.kill('SIGKILL')
    await ended
  }
  await start()
  t.teardown(kill)
  return { url, port, command, kill, freeze: () => { child.kill('SIGSTOP') }, thaw: () => { child.kill('SIGCONT') }, start }
}
