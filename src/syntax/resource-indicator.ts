/** Whether a text is a resource indicator: an absolute URI without a fragment (RFC 8707 section 2). */
export const isResourceIndicator = (text: string): boolean =>
  /^[a-z][a-z0-9+.-]*:[\x21-\x7e]+$/i.test(text) && URL.canParse(text) && !text.includes('#')
