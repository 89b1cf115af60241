/** What a scope may be: RFC 6749 appendix A.4, and not endless. */
export const scopeSyntax = /^[\x21\x23-\x5b\x5d-\x7e]{1,100}$/
