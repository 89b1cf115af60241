import { findFaults } from '../support/limits-page.ts'
import { t } from '../support/test.ts'

t.test('limits-002: every statement of the page names its test, and every test its statement', async t => {
  t.strictSame(findFaults(), { unmarked: [], withoutTest: [], withoutClaim: [], duplicate: [] })
})
