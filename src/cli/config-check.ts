import { environment } from '../config/environment.ts'
import { misspellingWarnings } from '../config/misspellings.ts'
import { productionWarnings } from '../config/warnings.ts'
import { defineCommand } from './command.ts'

export const configCheck = defineCommand({
  usage: 'latchkey config check [--json]',
  description: 'Check the configuration without starting anything.',
  options: {},
  plan: () => async config => {
    const [{ selectBuild }, { readTemplates }, { mailKinds }] = await Promise.all([
      import('../passwords/argon2id.ts'), import('../mail/templates.ts'), import('../capabilities.ts')])
    await selectBuild(config.passwords.build)
    readTemplates(config.mail.templates, mailKinds)
    const warnings = [...misspellingWarnings(environment()), ...productionWarnings(config)]
    return {
      text: ['The configuration is valid.', ...warnings.map(warning => `Warning: ${warning}`)].join('\n'),
      data: { ok: true, ...warnings.length > 0 && { warnings } }
    }
  }
})
