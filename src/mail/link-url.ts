/** Where a mailed link leads: the URL of the pages, and the page that opens. */
export interface LinkTarget { linksUrl: string, page: string }

/**
 * Returns the URL of a mailed link. The token is in the fragment, which browsers send neither to a server nor
 * in `Referer`.
 */
export const linkUrl = ({ linksUrl, page }: LinkTarget, token: string): string =>
  `${linksUrl}/${page}#token=${token}`
