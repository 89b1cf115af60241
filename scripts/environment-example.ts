import type { Variable } from '../src/config/variable.ts'
import { variables } from '../src/config/variables.ts'

const heading =
  '# Copy this file to .env, and remove the # from what you set. Latchkey reads .env only outside ' +
  'production;\n# Docker Compose reads it itself.\n'

/** The text of `.env.example`: what each variable does, and its default. */
export const formatExample = (): string => [heading, ...Object.entries<Variable<unknown>>(variables).map(
  ([name, { preset, unset, meaning, secret }]) => {
    const whenUnset = unset === undefined ? '' : `; unset: ${unset}`
    const file = secret ? ` (or put it into a file, and name the file in ${name}_FILE)` : ''
    return `# ${meaning}${whenUnset}${file}\n#${name}=${preset ?? ''}\n`
  })].join('\n')
