// Writes .env.example and the tables of docs/configuration.md from the variables that the service reads.
import { readFileSync, writeFileSync } from 'node:fs'
import { example } from '../src/config/variables.ts'
import { configurationPage } from './configuration-page.ts'

const page = 'docs/configuration.md'

writeFileSync('.env.example', example())
writeFileSync(page, configurationPage(readFileSync(page, 'utf8')))
