import neostandard from 'neostandard'
import tseslint from 'typescript-eslint'

const ignored = ['dist/**', 'plugins/verifier/dist/**', '.tap/**', '.data/**', 'generated/**']
const sources = ['**/*.ts', '**/*.cts']
// tsc --build does not compile these; they have projects of their own.
const otherProjects = ['examples/express-service/**', 'test/generated-client/**', 'test/consuming-service/**']

// What still breaks the rules of `strict` below. Remove a line when its code is clean.
const notYet = {
  'max-len': [
    'bench/**', 'examples/**', 'plugins/**', 'routes/**', 'test/**', 'src/*.ts', 'src/latchkey.cts',
    ...['accounts', 'authentication', 'cli', 'database', 'mail', 'sessions', 'tokens', 'transfer', 'users']
      .map(room => `src/${room}/**`)
  ],
  // The compiler does not see that another function has changed a property while this one was waiting.
  '@typescript-eslint/no-unnecessary-condition': [
    'bench/**', 'test/**', 'plugins/jobs.ts', 'plugins/verifier/revocation-feed.ts', 'src/server.ts',
    'src/passwords/imported-hashes/crypt-thread.ts', 'src/server/log-output.ts', 'src/throttle/redis-counters.ts',
    'src/tokens/revocation-feed.ts'
  ]
}
const strict = {
  // A URL cannot be broken.
  'max-len': ['error', { code: 110, ignoreUrls: true }],
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
  ...Object.entries(strict).map(([rule, setting]) => ({
    files: sources, ignores: [...otherProjects, ...notYet[rule]], rules: { [rule]: setting }
  }))
]
