import { existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import {
  chromium as playwright, type Browser, type BrowserContextOptions, type Page, type Request
} from 'playwright-core'
import type { Teardown } from './teardown.ts'

// The first is Chromium without a user interface. With it, tests take half the time.
const names = ['chromium-headless-shell', 'chromium', 'chromium-browser', 'google-chrome']
const executable = (process.env['PATH'] ?? '')
  .split(delimiter)
  .flatMap(folder => names.map(name => join(folder, name)))
  .find(path => existsSync(path))

/** The reason to skip tests of pages, or undefined if Chromium is installed. CI requires it. */
export const missing =
  executable === undefined && !process.env['CI'] ? 'there is no Chromium on this machine' : undefined

export const phone: BrowserContextOptions = {
  viewport: { width: 360, height: 740 },
  deviceScaleFactor: 2,
  isMobile: true,
  hasTouch: true
}

/** A page in a profile of its own, what it asked for, and what it complained of. */
export interface Tab { page: Page, requests: Request[], complaints: string[] }

/** Starts the browser, until the test is over. */
export async function start (
  t: Teardown
): Promise<{ browser: Browser; tab: (options?: BrowserContextOptions) => Promise<Tab> }> {
  if (executable === undefined) throw new Error('Chromium is not in PATH')
  const browser = await playwright.launch({
    executablePath: executable,
    args: [
      '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync'
    ]
  })
  t.teardown(async () => {
    await browser.close()
  })
  return {
    browser,
    async tab (options = {}) {
      const page = await (await browser.newContext({ locale: 'en-GB', ...options })).newPage()
      page.setDefaultTimeout(20_000)
      const requests: Request[] = []
      const complaints: string[] = []
      page.on('request', request => {
        requests.push(request)
      })
      page.on('pageerror', error => {
        complaints.push(error.message)
      })
      // Of a status that is no success the console tells, too.
      page.on('console', message => {
        if (
          ['error', 'warning'].includes(message.type()) &&
          !/the server responded with a status of/.test(message.text())
        ) {
          complaints.push(message.text())
        }
      })
      return { page, requests, complaints }
    }
  }
}
