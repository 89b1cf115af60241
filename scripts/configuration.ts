// Writes .env.example and the tables of docs/configuration.md from the variables that the service reads.
import { readFileSync, writeFileSync } from 'node:fs'
import { configurationPage } from './configuration-page.ts'
import { formatExample } from './environment-example.ts'

const page = 'docs/configuration.md'

writeFileSync('.env.example', formatExample())
writeFileSync(page, configurationPage(readFileSync(page, 'utf8')))
