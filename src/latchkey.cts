#!/usr/bin/env node
// libuv makes its threads at their first use, and on Node.js 20 the loader of ES modules is that: only a
// CommonJS module comes early enough to say how many, and not even that after a module was preloaded.
const { randomBytes } = process.getBuiltinModule('node:crypto')
const { readdirSync } = process.getBuiltinModule('node:fs')
const { availableParallelism, setPriority } = process.getBuiltinModule('node:os')
const { env, execArgv } = process

// Stack traces name the lines of the source, where the maps were built along with the code.
process.setSourceMapsEnabled(true)

const preloads = /--(import|loader|experimental-loader)\b/.test([...execArgv, env['NODE_OPTIONS']].join(' '))
// As many as passwords are hashed at a time, and some for files and host names.
if (!preloads) env['UV_THREADPOOL_SIZE'] ||= String((Number(env['ARGON2_CONCURRENCY']) || availableParallelism()) + 4)

// On Linux a thread has a priority of its own. With that of all others, those that hash would leave the one
// that answers waiting for a processor.
if (process.platform === 'linux') {
  try {
    const threads = () => readdirSync('/proc/self/task')
    const others = new Set(threads())
    // Makes the pool.
    randomBytes(1, () => {})
    for (const thread of threads()) if (!others.has(thread)) setPriority(Number(thread), 10)
  } catch {}
}
void import('./cli.ts')
