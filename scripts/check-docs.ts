// Runs the commands of README and of every page in docs/ in a fresh clone, as a reader would: each page in a
// shell of its own, with the service running. Name pages to run only those: node dist/scripts/check-docs.js
// docs/webhooks.md
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { BackgroundServices } from './background-services.ts'
import { directiveOf, listPages, parsePage, type CodeBlock } from './documentation.ts'
import { PageShell } from './page-shell.ts'

const serviceUrl = 'http://localhost:3000/readyz'

const folder = mkdtempSync(join(tmpdir(), 'latchkey-docs-'))
const clone = join(folder, 'latchkey')
execFileSync('git', ['clone', '--quiet', '.', clone])
const services = new BackgroundServices(clone)

const isRun = (block: CodeBlock) => block.language === 'sh' && directiveOf(block, 'not run') === undefined
const startsService = (block: CodeBlock) =>
  directiveOf(block, 'background')?.startsWith('http://localhost:3000') === true

let count = 0

async function runBlock (block: CodeBlock, shell: PageShell): Promise<void> {
  const file = directiveOf(block, 'file')
  if (file !== undefined) return writeFileSync(join(clone, file), block.text)
  if (!isRun(block)) return
  const needs = directiveOf(block, 'needs')
  if (needs !== undefined && !shell.succeeds(needs)) {
    console.log(`${block.page}:${block.line}: skipped, because this fails: ${needs}`)
    return
  }
  count++
  const url = directiveOf(block, 'background')
  if (url !== undefined) return await services.start(`${await shell.definitions(block)}\n${block.text}`, url)
  const output = await shell.run(block)
  for (const { name, value } of block.directives) {
    if (name === 'shows' && !new RegExp(value).test(output)) {
      throw new Error(`${block.page}:${block.line}: the output does not match ${value}`)
    }
  }
}

async function runPage (page: string): Promise<void> {
  const { blocks } = parsePage(clone, page)
  if (!blocks.some(isRun)) return
  console.log(`\n== ${page}`)
  // A page that starts the service does so with a configuration of its own.
  if (!blocks.some(startsService) && !services.isRunning(serviceUrl)) {
    await services.start('npm start', serviceUrl)
  }
  const shell = new PageShell(clone)
  for (const block of blocks) await runBlock(block, shell)
  shell.close()
  const startedAny = blocks.some(block => directiveOf(block, 'background') !== undefined)
  if (page !== 'README.md' && startedAny) await services.stopAll()
}

try {
  const named = process.argv.slice(2)
  if (named.length > 0) execFileSync('npm', ['ci'], { cwd: clone, stdio: 'inherit' })
  for (const page of named.length > 0 ? named : listPages(clone)) await runPage(page)
  console.log(`\nThe ${count} blocks of commands work as written.`)
} finally {
  await services.stopAll()
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
}
