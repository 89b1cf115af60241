/** What speaks against a certificate: its time is over or to come, it is for another name, or nobody who is trusted made it. */
export type CertificateFault = 'expired' | 'name' | 'untrusted'

/** What an error of Node's TLS, given by its code, says of the other side's certificate; undefined where it is about something else. */
export function certificateFault (code: string): CertificateFault | undefined {
  if (/^CERT_(HAS_EXPIRED|NOT_YET_VALID)$/.test(code)) return 'expired'
  if (/^(ERR_TLS_CERT_ALTNAME|HOSTNAME_MISMATCH)/.test(code)) return 'name'
  return /^(CERT_|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO_(GET|VERIFY|DECRYPT|DECODE))/.test(code) ? 'untrusted' : undefined
}
