// Runs the README's commands in a fresh clone, in order, as a reader would: the first block is the service.
import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const folder = mkdtempSync(join(tmpdir(), 'latchkey-readme-'))
const clone = join(folder, 'latchkey')
execFileSync('git', ['clone', '--quiet', '.', clone])

const readme = readFileSync(join(clone, 'README.md'), 'utf8')
const steps = [...readme.matchAll(/^```sh\n([\s\S]*?)^```$|^<!-- (restart) -->$/gm)].map(([, commands, mark]) => commands ?? mark ?? '')
const [install = '', ...session] = steps

function start (command: string): ChildProcess {
  // A process group of its own, as a terminal makes one for a command.
  return spawn('bash', ['-c', command], { cwd: clone, stdio: ['ignore', 'inherit', 'inherit'], detached: true })
}

async function ready (service: ChildProcess) {
  while (service.exitCode === null) {
    const answer = await fetch('http://localhost:3000/readyz').catch(() => undefined)
    if (answer?.status === 200) return
    await new Promise(resolve => setTimeout(resolve, 100))
  }
  throw new Error('the service ended')
}

/** What Ctrl-C does: the whole group is told. */
async function stop (service: ChildProcess) {
  const ended = once(service, 'exit')
  if (service.pid !== undefined && service.exitCode === null) process.kill(-service.pid, 'SIGINT')
  await ended
}

let service = start(install)
try {
  await ready(service)
  // One shell for all of it, which says when it wants the service restarted.
  const script = session.map(step => step === 'restart' ? 'echo RESTART; read -r' : `set -x\n${step}\n{ set +x; } 2>/dev/null`).join('\n')
  const reader = spawn('bash', ['-euo', 'pipefail', '-c', script], { cwd: clone, stdio: ['pipe', 'pipe', 'inherit'] })
  let output = ''
  reader.stdout.setEncoding('utf8')
  for await (const chunk of reader.stdout) {
    output += chunk
    process.stdout.write(chunk)
    if (String(chunk).includes('RESTART')) {
      await stop(service)
      service = start('npm start')
      await ready(service)
      reader.stdin.write('\n')
    }
  }
  if (reader.exitCode === null) await once(reader, 'exit')
  const expected = [/"token_type":"Bearer"/, /"email":"ada@example\.com"/, /The token is that of user [0-9a-f-]{36}, with the roles user\./, /"code":"invalid_refresh_token"/]
  const missing = expected.filter(pattern => !pattern.test(output))
  if (reader.exitCode !== 0 || missing.length > 0) throw new Error(`the README's session ended with ${reader.exitCode}, and did not show ${missing.join(', ') || 'anything unexpected'}`)
  console.log(`The README's ${session.length} steps work as written.`)
} finally {
  await stop(service).catch(() => {})
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
}
