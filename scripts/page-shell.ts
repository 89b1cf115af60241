import { spawn, spawnSync, type ChildProcessByStdio } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import type { Readable, Writable } from 'node:stream'
import type { CodeBlock } from './documentation.ts'

/** The shell that a reader has open for a page. */
export class PageShell {
  readonly #folder: string
  readonly #shell: ChildProcessByStdio<Writable, Readable, null>
  readonly #output: AsyncIterator<string>

  constructor (folder: string) {
    this.#folder = folder
    this.#shell = spawn('bash', ['-euo', 'pipefail', '-s'], {
      cwd: folder, stdio: ['pipe', 'pipe', 'inherit']
    })
    this.#shell.stdout.setEncoding('utf8')
    // A write to a shell that has ended fails. The end of its output reports that.
    this.#shell.stdin.on('error', () => {})
    this.#output = this.#shell.stdout[Symbol.asyncIterator]()
  }

  /** Runs the commands of a block and prints their output. Returns it; throws if one of them fails. */
  async run (block: CodeBlock): Promise<string> {
    const output = await this.#outputOf(block, `set -x\n${block.text}\n{ set +x; } 2> /dev/null`)
    process.stdout.write(output)
    return output
  }

  /** The variables and functions that the page has defined before a block, as commands that define them. */
  async definitions (block: CodeBlock): Promise<string> {
    const commands = "{ declare -p | grep -v '^declare -[a-zA-Z]*r'; declare -f; } 2> /dev/null"
    return await this.#outputOf(block, commands)
  }

  async #outputOf ({ page, line }: CodeBlock, commands: string): Promise<string> {
    const marker = `end of block ${randomUUID()}`
    // The commands must not read the script, which is the standard input of the shell.
    this.#shell.stdin.write(`{ ${commands}\n} < /dev/null\necho; echo '${marker}'\n`)
    let output = ''
    while (!output.includes(marker)) {
      const { value, done } = await this.#output.next()
      if (done === true) throw new Error(`${page}:${line}: a command failed`)
      output += value
    }
    return output.slice(0, output.indexOf(marker))
  }

  /** Whether a command succeeds in the folder of the page. */
  succeeds (command: string): boolean {
    return spawnSync('bash', ['-c', command], { cwd: this.#folder, stdio: 'ignore' }).status === 0
  }

  close (): void {
    this.#shell.stdin.end()
  }
}
