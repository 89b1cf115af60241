import { environment } from '../config/environment.ts'
import { misspellingWarnings } from '../config/misspellings.ts'
import { productionWarnings, settingWarnings } from '../config/warnings.ts'
import { defineCommand } from './command.ts'
import { checkConnections, unsetServers } from './connection-checks.ts'

export const configCheck = defineCommand({
  usage: 'latchkey config check [--connect] [--json]',
  description: 'Check the configuration without starting anything.',
  options: {
    connect: {
      type: 'boolean', description: 'also try the database, Redis and the mail server; no mail is sent'
    }
  },
  plan: ({ connect = false }) => async config => {
    const [{ selectBuild }, { readTemplates }, { mailKinds }] = await Promise.all([
      import('../passwords/argon2id.ts'), import('../mail/templates.ts'), import('../capabilities.ts')])
    await selectBuild(config.passwords.build)
    readTemplates(config.mail.templates, mailKinds)
    const warnings = [
      ...misspellingWarnings(environment()), ...settingWarnings(config), ...productionWarnings(config)
    ]
    const connections = connect ? await checkConnections(config) : []
    const ok = connections.every(connection => connection.ok)
    const answers = connections.map(connection =>
      `${connection.variable}: ${connection.ok ? '' : 'failed: '}${connection.answer}`)
    const unset = connect ? unsetServers(config) : []
    const untried = unset.length > 0 ? [`Not set, so not tried: ${unset.join(', ')}.`] : []
    const marked = warnings.map(warning => `Warning: ${warning}`)
    return {
      text: ['The configuration is valid.', ...marked, ...answers, ...untried].join('\n'),
      data: { ok, ...warnings.length > 0 && { warnings }, ...connect && { connections } },
      code: ok ? 0 : 1
    }
  }
})
