import bowser from 'bowser'

/** The browser and the operating system that a `User-Agent` header names; null if it names none. */
export function describe (userAgent: string | null): { browser: string | null, system: string | null } {
  if (!userAgent) return { browser: null, system: null }
  const { browser, os } = bowser.parse(userAgent)
  const [major] = browser.version?.split('.') ?? []
  return {
    browser: browser.name ? [browser.name, major].filter(Boolean).join(' ') : null,
    system: os.name ? [os.name, os.versionName ?? ''].filter(Boolean).join(' ') : null
  }
}
