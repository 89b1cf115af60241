import { writeFileSync } from 'node:fs'
import { load } from '../src/config/config.ts'
import { build } from '../src/server/http-server.ts'

// The document as a deployment serves it; nothing is connected to.
const issuer = 'https://auth.example.com'
const app = build({
  config: load({ ISSUER_URL: issuer, LOG_LEVEL: 'silent' }),
  databaseUrl: 'postgres://127.0.0.1:1/none',
  keyEncryptionKeys: [Buffer.alloc(32)]
})
await app.ready()
writeFileSync('openapi.json', JSON.stringify(app.swagger(), undefined, 2) + '\n')
await app.close()
