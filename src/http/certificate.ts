/**
 * Why a certificate is refused: it is not valid at this time, it is for another name, or its issuer is not
 * trusted.
 */
export type CertificateFault = 'expired' | 'name' | 'untrusted'

/** The fault of the peer's certificate that a TLS error of Node.js reports, given the error's code. */
export function certificateFault (code: string): CertificateFault | undefined {
  if (/^CERT_(HAS_EXPIRED|NOT_YET_VALID)$/.test(code)) return 'expired'
  if (/^(ERR_TLS_CERT_ALTNAME|HOSTNAME_MISMATCH)/.test(code)) return 'name'
  const isUntrusted = /^(CERT_|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO_(GET|VERIFY|DECRYPT|DECODE))/.test(code)
  return isUntrusted ? 'untrusted' : undefined
}
