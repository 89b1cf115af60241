import neostandard from 'neostandard'
import tseslint from 'typescript-eslint'

const ignored = ['dist/**', 'plugins/verifier/dist/**', '.tap/**', '.data/**', 'generated/**']
const sources = ['**/*.ts', '**/*.cts']
const scripts = ['**/*.js', '**/*.mjs']
// tsc --build does not compile these; they have projects of their own.
const otherProjects = ['examples/express-service/**', 'test/generated-client/**', 'test/consuming-service/**']

// What still breaks the rules of `strict` below. Remove a line when its code is clean.
const notYet = {
  '@typescript-eslint/no-unnecessary-condition': ['bench/**', 'test/**']
}
// A URL or a hash cannot be broken.
const maxLength = ['error', { code: 110, ignoreUrls: true, ignorePattern: '\\S{60}' }]
const strict = {
  'max-len': maxLength,
  // Rows of pg and parsed JSON have declared types that are checked by tests, not by the compiler.
  '@typescript-eslint/no-unnecessary-condition': 'error'
}

export default [
  ...neostandard({ ts: true, ignores: ignored }),
  {
    files: sources,
    ignores: otherProjects,
    plugins: { '@typescript-eslint': tseslint.plugin },
    languageOptions: {
      parser: tseslint.parser,
      parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname }
    },
    rules: {
      '@typescript-eslint/await-thenable': 'error',
      // tap itself waits for the subtests of a test.
      '@typescript-eslint/no-floating-promises': ['error', {
        allowForKnownSafePromises: [{ from: 'package', package: '@tapjs/core', name: 'PromiseWithSubtest' }]
      }],
      '@typescript-eslint/no-misused-promises': 'error',
      // `void` says that nothing waits for a promise, which handles its failures itself or ends the process.
      'no-void': ['error', { allowAsStatement: true }]
    }
  },
  { files: scripts, rules: { 'max-len': maxLength } },
  ...Object.entries(strict).map(([rule, setting]) => ({
    files: sources, ignores: [...otherProjects, ...notYet[rule] ?? []], rules: { [rule]: setting }
  }))
]
