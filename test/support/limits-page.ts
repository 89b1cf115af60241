import { existsSync, readdirSync, readFileSync } from 'node:fs'
import type { Test } from 'tap'

const page = 'docs/limits.md'
const folder = 'test/limits'

interface Block { language: string, text: string }
interface Section { claims: string[], blocks: Block[] }

/** What the page says, by heading: its sentences, the rows of its tables, and its blocks of code. */
function read (): Map<string, Section> {
  const [first = '', ...others] = readFileSync(page, 'utf8').split(/^(?=## )/m)
  return new Map([first.replace(/^# .*\n/, '## \n'), ...others].map(text => {
    const [heading = '', ...lines] = text.split('\n')
    const section: Section = { claims: [], blocks: [] }
    let block: Block | undefined
    for (const [index, line] of lines.entries()) {
      const [, language] = /^```(.*)$/.exec(line) ?? []
      if (language !== undefined) {
        if (block) section.blocks.push(block)
        block = block ? undefined : { language, text: '' }
      } else if (block) block.text += `${line}\n`
      else if (line.startsWith('|')) {
        if (!/^\| ---/.test(line) && !/^\| ---/.test(lines[index + 1] ?? '')) section.claims.push(line)
      } else if (line !== '') section.claims.push(...line.replace(/^- /, '').split(/(?<=[.?!])\s+(?=[A-Z`*])/))
    }
    return [heading.replace(/^## /, ''), section]
  }))
}

type Check = (t: Test) => Promise<unknown>

/**
 * Holds some sections of the operator's page: each of their sentences is the name of a test, and no other is. When all
 * is said, `end` compares them.
 */
export function hold (t: Test, ...headings: string[]) {
  const sections = read()
  const held: string[] = []
  const say = (sentence: string, skip: string | false, check: Check) => {
    held.push(sentence)
    t.test(sentence, { skip }, check)
  }
  return {
    /** The blocks of code of one language under a heading. */
    blocks: (heading: string, language: string) => sections.get(heading)?.blocks.filter(block => block.language === language).map(({ text }) => text) ?? [],
    holds: (sentence: string, check: Check) => say(sentence, false, check),
    /** For what needs a program that may not be there. */
    holdsWith: (skip: string | false, sentence: string, check: Check) => say(sentence, skip, check),
    /** Other tests show it, which are there by these names. */
    isHeldBy: (sentence: string, tests: Record<string, string[]>) => say(sentence, false, async t => {
      for (const [file, names] of Object.entries(tests)) {
        t.ok(existsSync(file), file)
        for (const name of names) t.ok(readFileSync(file, 'utf8').includes(`t.test('${name.replaceAll("'", "\\'")}'`), `${file}: ${name}`)
      }
    }),
    /** It says what would be good, and nothing about what is. */
    isAdvice: (sentence: string) => { held.push(sentence) },
    end () {
      t.test(`nothing else is said under ${headings.map(heading => `"${heading}"`).join(', ')}`, async t => {
        const said = headings.flatMap(heading => sections.get(heading)?.claims ?? [`there is no heading "${heading}"`])
        t.strictSame(said.filter(sentence => !held.includes(sentence)), [], 'without a test')
        t.strictSame(held.filter(sentence => !said.includes(sentence)), [], 'without being said')
        t.equal(new Set(held).size, held.length, 'twice')
      })
      t.test('every heading is held somewhere', async t => {
        const tests = readdirSync(folder).map(name => readFileSync(`${folder}/${name}`, 'utf8')).join('\n')
        for (const heading of sections.keys()) t.ok(tests.includes(`'${heading}'`), heading)
      })
    }
  }
}
