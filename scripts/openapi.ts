import { writeFileSync } from 'node:fs'
import { load } from '../src/config/config.ts'
import { build } from '../src/server/http-server.ts'
import { toOpenapi30 } from './openapi-3.0.ts'

// The document as a deployment serves it; nothing is connected to.
const issuer = 'https://auth.example.com'
const app = build({
  config: load({ ISSUER_URL: issuer, LOG_LEVEL: 'silent' }),
  databaseUrl: 'postgres://127.0.0.1:1/none',
  keyEncryptionKeys: [Buffer.alloc(32)]
})
await app.ready()
const document = JSON.parse(JSON.stringify(app.swagger()))
const write = (file: string, content: object) => {
  writeFileSync(file, JSON.stringify(content, undefined, 2) + '\n')
}
write('openapi.json', document)
write('openapi-3.0.json', toOpenapi30(document))
await app.close()
