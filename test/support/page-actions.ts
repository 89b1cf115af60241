import type { Page } from 'playwright-core'
import type { Test } from 'tap'
import type { UserCredentials } from './app.ts'

// What a person does on the pages of the service, and sees in an application.

export async function signUp (page: Page, { email, password }: UserCredentials): Promise<void> {
  await page.getByRole('link', { name: 'Create an account' }).click()
  await page.getByLabel('Email').fill(email)
  await page.getByLabel('Password', { exact: true }).fill(password)
  await page.getByRole('button', { name: 'Create account' }).click()
}

export async function signIn (page: Page, { email, password }: UserCredentials): Promise<void> {
  await page.getByLabel('Email address or username').fill(email)
  await page.getByLabel('Password', { exact: true }).fill(password)
  await page.getByRole('button', { name: 'Sign in', exact: true }).click()
}

export async function allow (page: Page): Promise<void> {
  await page.getByRole('button', { name: 'Allow' }).click()
}

/** Waits until the status of an application is this text. */
export async function showsStatus (t: Test, page: Page, text: string): Promise<void> {
  const status = page.locator('#status')
  await status.filter({ hasText: text }).waitFor()
  t.equal(await status.textContent(), text)
}
