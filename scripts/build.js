// Compiles TypeScript to dist/. Says so if it takes longer than a second, because a person may be waiting.
import { spawn } from 'node:child_process'
import { createRequire } from 'node:module'

const require = createRequire(import.meta.url)

/** @param {string} message */
function fail (message) {
  console.error(message)
  process.exit(1)
}

function findCompiler () {
  try {
    return require.resolve('typescript/bin/tsc')
  } catch {
    return fail('The packages of Latchkey are not installed. Run: npm ci')
  }
}

// As src/latchkey.cts, which needs a build.
const { node: version } = process.versions
if (version.localeCompare('20.19', 'en', { numeric: true }) < 0 || !('getBuiltinModule' in process)) {
  fail(`Latchkey cannot run on Node.js ${version}. It needs 20.19, 22.3 or a newer version.`)
}
const compiler = findCompiler()
const notice = setTimeout(() => {
  console.error('Building Latchkey …')
}, 1_000)
const build = spawn(process.execPath, [compiler, '--build', '.', 'plugins/verifier'], { stdio: 'inherit' })
build.on('exit', code => {
  clearTimeout(notice)
  process.exitCode = code ?? 1
})
