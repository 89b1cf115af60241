import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, closeSync, mkdirSync, openSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { freePort } from '../../src/database/embedded/server.ts'
import type { Teardown } from './teardown.ts'
import { temporaryFolder } from './temporary-folder.ts'

const env = { PATH: `${process.env['PATH']}:/usr/local/sbin:/usr/sbin` }

/** The reason to skip tests with nginx if it cannot be run. CI requires it. */
export const skip =
  process.env['CI'] !== 'true' && spawnSync('nginx', ['-v'], { env }).error !== undefined
    ? 'nginx is not installed'
    : false

/** The configuration of the example, by file. */
export const configuration = (): Map<string, string> => {
  const from = resolve('examples/gateway')
  return new Map(
    readdirSync(from)
      .filter(name => name.endsWith('.conf'))
      .map(name => [name, readFileSync(join(from, name), 'utf8')])
  )
}

export interface Nginx {
  base: string
  port: number
  /** What nginx has logged so far. */
  log: () => string
}

/** Starts nginx with the configuration of the example, and with the ports of these programs. */
export async function start (
  t: Teardown,
  { latchkey, orders }: { latchkey: number[]; orders: number }
): Promise<Nginx> {
  const port = await freePort()
  const prefix = temporaryFolder(t)
  const places = new Map([
    [
      'server latchkey:3000 fail_timeout=1s;',
      latchkey.map(at => `server 127.0.0.1:${at} fail_timeout=1s;`).join(' ')
    ],
    ['server orders:8080;', `server 127.0.0.1:${orders};`],
    ['listen 8080;', `listen 127.0.0.1:${port};`]
  ])
  // If root starts nginx, its workers run as another user.
  chmodSync(prefix, 0o711)
  mkdirSync(join(prefix, 'conf'))
  for (const [name, text] of configuration()) {
    let placed = text
    for (const [written, meant] of places) {
      if (!placed.includes(written)) continue
      placed = placed.replace(written, meant)
      places.delete(written)
    }
    writeFileSync(join(prefix, 'conf', name), placed)
  }
  if (places.size > 0) throw new Error(`the example has no ${[...places.keys()].join(', ')}`)

  return await launch(t, prefix, port)
}

export interface ServerConfiguration {
  /** Directives for the context `http`. */
  http?: string
  /** The locations of the server. */
  locations: string
  /** The port that the server listens on, a free one unless given. */
  port?: number
}

/** Starts nginx with one server, which has these locations. */
export async function startServer (t: Teardown, configuration: ServerConfiguration): Promise<Nginx> {
  const { http = '', locations, port = await freePort() } = configuration
  const prefix = temporaryFolder(t)
  const temporaryPaths = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map(name => `${name}_temp_path ${name};`).join(' ')
  chmodSync(prefix, 0o711)
  mkdirSync(join(prefix, 'conf'))
  writeFileSync(join(prefix, 'conf/nginx.conf'), `
    worker_processes 1;
    pid nginx.pid;
    error_log stderr error;
    events {}
    http {
      ${temporaryPaths}
      access_log off;
      ${http}
      server {
        listen 127.0.0.1:${port};
        location = /_health { return 204; }
        ${locations}
      }
    }`)
  return await launch(t, prefix, port)
}

/** Starts nginx with the configuration in `conf/` of a folder. It must answer 204 at `/_health`. */
export async function launch (t: Teardown, prefix: string, port: number): Promise<Nginx> {
  const file = join(prefix, 'log')
  const log = openSync(file, 'a')
  const child = spawn(
    'nginx',
    ['-e', 'stderr', '-p', `${prefix}/`, '-c', join(prefix, 'conf/nginx.conf'), '-g', 'daemon off;'],
    { env, stdio: ['ignore', log, log] }
  )
  closeSync(log)
  const ended = once(child, 'close').catch(() => {})
  t.teardown(async () => {
    child.kill('SIGTERM')
    await ended
  })
  const base = `http://127.0.0.1:${port}`
  const read = () => readFileSync(file, 'utf8')
  while ((await fetch(`${base}/_health`).catch(() => undefined))?.status !== 204) {
    if (child.exitCode !== null || child.pid === undefined) throw new Error(`nginx does not run: ${read()}`)
    await new Promise(resolve => setTimeout(resolve, 20))
  }
  return { base, port, log: read }
}
