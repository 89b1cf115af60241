/** The syntax of one scope (scope-token of RFC 6749 appendix A.4), limited to 100 characters. */
export const scopeSyntax = /^[\x21\x23-\x5b\x5d-\x7e]{1,100}$/
