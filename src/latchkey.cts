#!/usr/bin/env node
// libuv makes its threads at their first use, and on Node.js 20 the loader of ES modules is that: only a CommonJS module
// comes early enough to say how many, and not even that after a module was preloaded.
const { availableParallelism } = process.getBuiltinModule('node:os')
const { env, execArgv } = process

const preloads = /--(import|loader|experimental-loader)\b/.test([...execArgv, env['NODE_OPTIONS']].join(' '))
// As many as passwords are hashed at a time, and some for files and host names.
if (!preloads) env['UV_THREADPOOL_SIZE'] ||= String((Number(env['ARGON2_CONCURRENCY']) || availableParallelism()) + 4)
import('./cli.ts')
