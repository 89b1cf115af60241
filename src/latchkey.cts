#!/usr/bin/env node
// libuv creates its thread pool at the first use. On Node.js 20, that is the loader of ES modules. So only a
// CommonJS module runs early enough to set the size of the pool, and only if no module was preloaded.

// Older versions lack what the next lines use, and so do the first ones of Node.js 22.
const { node: version } = process.versions
if (version.localeCompare('20.19', 'en', { numeric: true }) < 0 || !('getBuiltinModule' in process)) {
  console.error(`Latchkey cannot run on Node.js ${version}. It needs 20.19, 22.3 or a newer version.`)
  process.exit(1)
}

const { randomBytes } = process.getBuiltinModule('node:crypto')
const { readdirSync } = process.getBuiltinModule('node:fs')
const { availableParallelism, setPriority } = process.getBuiltinModule('node:os')
const { env, execArgv } = process

// Stack traces name the lines of the source, if the source maps were built.
process.setSourceMapsEnabled(true)

const nodeOptions = [...execArgv, env['NODE_OPTIONS']].join(' ')
const hasPreload = /--(import|loader|experimental-loader)\b/.test(nodeOptions)
// A thread for each password that is hashed at the same time, and four for files and host names.
if (!hasPreload) {
  const parallelHashes = Number(env['ARGON2_CONCURRENCY']) || availableParallelism()
  env['UV_THREADPOOL_SIZE'] ||= String(parallelHashes + 4)
}

// On Linux, each thread has its own priority. The threads that hash get a lower one, so that the thread that
// serves requests does not wait for a processor.
if (process.platform === 'linux') {
  try {
    const listThreads = () => readdirSync('/proc/self/task')
    const earlierThreads = new Set(listThreads())
    // Creates the pool.
    randomBytes(1, () => {})
    for (const thread of listThreads()) if (!earlierThreads.has(thread)) setPriority(Number(thread), 10)
  } catch {}
}
void import('./cli.ts')
