import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { Redis } from 'ioredis'
import { freePort } from '../../src/database/embedded/server.ts'
import type { Teardown } from './teardown.ts'
import { temporaryFolder } from './temporary-folder.ts'

const isMissing = process.env['CI'] !== 'true' && spawnSync('redis-server', ['--version']).error !== undefined
/** Why tests with Redis are skipped, if it is not installed. In CI they never are. */
export const skip = isMissing ? 'redis-server is not installed' : false

export interface RedisServer {
  url: string
  port: number
  /** Runs a command on a connection of its own. */
  command: (...words: string[]) => Promise<unknown>
  /** Kills the server and waits until it has ended. */
  kill: () => Promise<void>
  /** Stops the process without ending it. */
  freeze: () => void
  thaw: () => void
  /** Starts the server again, without data. */
  start: () => Promise<void>
}

/** Starts a Redis with these further arguments, which ends with the test. */
export async function redisServer (t: Teardown, ...further: string[]): Promise<RedisServer> {
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
    const withoutFiles = ['--save', '', '--appendonly', 'no', '--dir', dir]
    const options = ['--port', String(port), '--bind', '127.0.0.1', ...withoutFiles]
    child = spawn('redis-server', [...options, ...further], { stdio: 'ignore' })
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
  const freeze = () => { child.kill('SIGSTOP') }
  const thaw = () => { child.kill('SIGCONT') }
  return { url, port, command, kill, freeze, thaw, start }
}
