import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'

const page = 'docs/limits.md'
const folder = 'test/limits'

/** Ends a claim: names its test, or is `advice` if the sentence recommends something and claims nothing. */
const marker = /<!-- (?:test: (limits-\d{3})|advice) -->/g

interface Section { text: string, blocks: Array<{ language: string, text: string }> }

/** The sections of the page by their headings. The blocks of code are not part of the text. */
function readSections (): Map<string, Section> {
  const parts = readFileSync(page, 'utf8').split(/^(?=## )/m)
  return new Map(parts.map(part => {
    const [heading = ''] = part.split('\n', 1)
    const blocks: Section['blocks'] = []
    const codeBlock = /^```(\w*)\n(.*?)^```$/gms
    const text = part.slice(heading.length).replaceAll(codeBlock, (_, language: string, code: string) => {
      blocks.push({ language, text: code })
      return ''
    })
    return [heading.replace(/^#+ /, ''), { text, blocks }]
  }))
}

/** The blocks of code in one language under a heading of the page. */
export const blocks = (heading: string, language: string): string[] =>
  readSections()
    .get(heading)
    ?.blocks.filter(block => block.language === language)
    .map(({ text }) => text) ?? []

/** The claims of the page by their ids. */
function readClaims (): Map<string, string> {
  const claims = new Map<string, string>()
  for (const { text } of readSections().values()) {
    for (const line of text.split('\n')) {
      let start = 0
      for (const found of line.matchAll(marker)) {
        const [comment, id] = found
        if (id !== undefined) claims.set(id, line.slice(start, found.index).trim())
        start = found.index + comment.length
      }
    }
  }
  return claims
}

/** The claim with this id. */
export function claim (id: string): string {
  const text = readClaims().get(id)
  if (text === undefined) throw new Error(`${page} has no ${id}`)
  return text
}

/** Adds the test of a claim that other tests verify. It passes if these tests exist, in these files. */
export function verifiedBy (t: Test, name: string, tests: Record<string, string[]>) {
  t.test(name, async t => {
    for (const [file, names] of Object.entries(tests)) {
      t.ok(existsSync(file), file)
      for (const name of names) {
        const call = new RegExp(`t\\.test\\(\\s*'${escape(name.replaceAll("'", "\\'"))}'`)
        t.ok(call.test(readFileSync(file, 'utf8')), `${file}: ${name}`)
      }
    }
  })
}

const escape = (text: string) => text.replaceAll(/[\\^$.*+?()[\]{}|]/g, '\\$&')

const duplicates = (ids: string[]) => ids.filter((id, index) => ids.indexOf(id) !== index)

export interface LimitsPageFaults {
  /** Sentences that neither an id nor `advice` follows. */
  unmarked: string[]
  withoutTest: string[]
  withoutClaim: string[]
  duplicate: string[]
}

/** Finds claims without a test, tests without a claim, and ids that are used twice. */
export function findFaults (): LimitsPageFaults {
  const text = [...readSections().values()].map(section => section.text).join('\n')
  const ids = [...text.matchAll(/<!-- test: (limits-\d{3}) -->/g)].map(([, id = '']) => id)
  const sources = readdirSync(folder).map(name => readFileSync(join(folder, name), 'utf8')).join('\n')
  const tested = [...sources.matchAll(/'(limits-\d{3}): /g)].map(([, id = '']) => id)
  // Neither headings nor the sentence that names the readers claim anything.
  const isClaim = (line: string, next = '') =>
    line.trim() !== '' && !/^(#|For |\| ---)/.test(line) && !next.startsWith('| ---')
  const lines = text.split('\n')
  const unmarked = lines.filter(
    (line, index) => isClaim(line, lines[index + 1]) && !/-->(?: \|)?$/.test(line)
  )
  return {
    unmarked,
    withoutTest: ids.filter(id => !tested.includes(id)),
    withoutClaim: tested.filter(id => !ids.includes(id)),
    duplicate: [...duplicates(ids), ...duplicates(tested)]
  }
}
