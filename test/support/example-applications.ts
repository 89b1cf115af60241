import { readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { join, resolve } from 'node:path'
import { directiveOf, parsePage } from '../../scripts/documentation.ts'
import type { TestClient } from './delegation.ts'
import { run, type Running } from './process.ts'
import { commandOf } from './program.ts'
import type { Teardown } from './teardown.ts'
import { temporaryFolder } from './temporary-folder.ts'

export const localhost = (port: number): string => `http://localhost:${port}`

export interface ExampleSettings {
  issuer: string
  client: TestClient
  /** 0 for a program that does not listen on a given port. */
  port: number
  env?: Record<string, string>
}

const environmentOf = ({ issuer, client, port, env }: ExampleSettings) => ({
  ISSUER_URL: issuer, CLIENT_ID: client.id, CLIENT_SECRET: client.secret, PORT: String(port), ...env
})

/** Runs a program of `examples/`. */
export const runExample = (t: Teardown, name: string, settings: ExampleSettings): Running =>
  run(t, commandOf(`examples/${name}`), {
    cwd: temporaryFolder(t), port: settings.port, env: environmentOf(settings)
  })

/** Runs the application that a page of the documentation contains. */
export function runDocumented (t: Teardown, page: string, file: string, settings: ExampleSettings): Running {
  const block = parsePage('.', page).blocks.find(each => directiveOf(each, 'file') === file)
  if (!block) throw new Error(`${page} has no file ${file}`)
  const { issuer, port } = settings
  const text = block.text
    .replaceAll('http://localhost:3000', issuer)
    .replaceAll('http://localhost:8080', localhost(port))
    .replace('listen(8080', `listen(${port}`)
  const folder = temporaryFolder(t)
  writeFileSync(join(folder, file), text)
  symlinkSync(resolve('node_modules'), join(folder, 'node_modules'))
  return run(t, [join(folder, file)], { cwd: folder, port, env: environmentOf(settings) })
}

const types: Record<string, string> = { html: 'text/html', js: 'text/javascript' }

/** Serves the files of `examples/browser-app`. */
export function serveBrowserApp (
  t: Teardown, { issuer, client, port }: ExampleSettings, ordersUrl: string
): void {
  const texts: Record<string, string> = {
    'oauth4webapi.js': readFileSync('node_modules/oauth4webapi/build/index.js', 'utf8'),
    'config.js': Object.entries({ issuer, clientId: client.id, ordersUrl })
      .map(([name, value]) => `export const ${name} = '${value}'\n`).join('')
  }
  for (const name of ['index.html', 'app.js', 'auth.js']) {
    texts[name] = readFileSync(`examples/browser-app/${name}`, 'utf8')
  }
  const server = createServer(({ url = '/' }, response) => {
    const name = new URL(url, localhost(port)).pathname.slice(1) || 'index.html'
    const text = texts[name]
    const type = types[name.split('.')[1] ?? ''] ?? 'text/plain'
    response.writeHead(text === undefined ? 404 : 200, { 'content-type': type }).end(text)
  }).listen(port, '127.0.0.1')
  t.teardown(() => { server.close() })
}
