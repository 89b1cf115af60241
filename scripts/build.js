// Compiles TypeScript to dist/. Says so if it takes longer than a second, because a person may be waiting.
import { spawn } from 'node:child_process'
import { createRequire } from 'node:module'

const compiler = createRequire(import.meta.url).resolve('typescript/bin/tsc')
const notice = setTimeout(() => {
  console.error('Building Latchkey …')
}, 1_000)
const build = spawn(process.execPath, [compiler, '--build', '.', 'plugins/verifier'], { stdio: 'inherit' })
build.on('exit', code => {
  clearTimeout(notice)
  process.exitCode = code ?? 1
})
