import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Teardown } from './teardown.ts'
import { temporaryFolder } from './temporary-folder.ts'

export interface Certificate { key: string, cert: string }

export interface Authority {
  /** The file with its own certificate, for NODE_EXTRA_CA_CERTS. */
  file: string
  /**
   * A certificate for names as OpenSSL writes them (`DNS:localhost`, `IP:127.0.0.1`), for a day or until one
   * before now.
   */
  issue: (names: string, days?: number) => Certificate
}

const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']

/** A certificate authority that no client trusts by default. */
export function authority (t: Teardown): Authority {
  const cwd = temporaryFolder(t)
  const openssl = (...args: string[]) => execFileSync('openssl', args, { cwd, stdio: 'pipe' })
  openssl(
    'req',
    '-x509',
    ...newKey,
    '-keyout',
    'ca.key',
    '-out',
    'ca.pem',
    '-subj',
    '/CN=Authority',
    '-days',
    '1'
  )
  let issued = 0
  return {
    file: join(cwd, 'ca.pem'),
    issue (names, days = 1) {
      const name = `certificate-${issued++}`
      openssl(
        'req',
        '-new',
        ...newKey,
        '-keyout',
        `${name}.key`,
        '-out',
        `${name}.csr`,
        '-subj',
        '/CN=Server',
        '-addext',
        `subjectAltName=${names}`
      )
      openssl(
        'x509',
        '-req',
        '-in',
        `${name}.csr`,
        '-CA',
        'ca.pem',
        '-CAkey',
        'ca.key',
        '-CAcreateserial',
        '-copy_extensions',
        'copyall',
        '-days',
        String(days),
        '-out',
        `${name}.pem`
      )
      const [cert = '', key = ''] = [`${name}.pem`, `${name}.key`].map(file =>
        readFileSync(join(cwd, file), 'utf8')
      )
      return { key, cert }
    }
  }
}
