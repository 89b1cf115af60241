import { escapeHtml } from '../../src/http/html.ts'
import { t } from '../support/test.ts'

t.test('text cannot leave an element or a quoted attribute', async t => {
  t.equal(
    escapeHtml('</p><a href="x" title=\'y\'>&amp;'),
    '&lt;/p&gt;&lt;a href=&quot;x&quot; title=&#39;y&#39;&gt;&amp;amp;'
  )
  t.equal(escapeHtml('Ünïcorn & Söhne'), 'Ünïcorn &amp; Söhne')
})
