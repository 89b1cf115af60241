// Compiles TypeScript to dist/. A person at a terminal is told what takes so long, if it takes longer than a second.
import { spawn } from 'node:child_process'
import { createRequire } from 'node:module'

const compiler = createRequire(import.meta.url).resolve('typescript/bin/tsc')
const notice = setTimeout(() => {
  console.error('Building Latchkey (about 15 seconds the first time) …')
}, 1_000)
const build = spawn(process.execPath, [compiler, '--build', '.', 'plugins/verifier'], { stdio: 'inherit' })
build.on('exit', code => {
  clearTimeout(notice)
  process.exitCode = code ?? 1
})
