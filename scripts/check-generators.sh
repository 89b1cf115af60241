#!/usr/bin/env bash
# Generates clients from the API document with further generators of TypeScript, and compiles the clients.
# orval and @hey-api/openapi-ts read OpenAPI 3.1, and openapi-typescript-codegen reads only 3.0.
# (npm run openapi:client does the same with openapi-typescript.) The generators need a newer Node.js than the
# service, so this script installs one in a folder of its own.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$PWD/generated/generators
bin=$work/node_modules/.bin
rm -rf "$work"
mkdir -p "$work"
cp openapi.json openapi-3.0.json "$work"
npm install --silent --no-audit --no-fund --no-save --no-package-lock --prefix "$work" \
  node@24 typescript@5.9.3 orval@8.38.0 @hey-api/openapi-ts@0.99.0 openapi-typescript-codegen@0.31.0

cd "$work"
generate() {
  local name=$1
  shift
  "$bin/node" "$bin/$name" "$@" > "$name.log" 2>&1 || { cat "$name.log"; exit 1; }
}
generate orval --input ./openapi.json --output ./clients/orval.ts --client fetch
generate openapi-ts --input ./openapi.json --output ./clients/hey-api
generate openapi --input ./openapi-3.0.json --output ./clients/codegen

cat > tsconfig.json <<'END'
{
  "compilerOptions": {
    "target": "ES2023",
    "lib": ["ES2023", "DOM", "DOM.Iterable"],
    "module": "ESNext",
    "moduleResolution": "Bundler",
    "strict": true,
    "noEmit": true,
    "types": []
  },
  "include": ["clients"]
}
END
"$bin/tsc" -p .
for client in orval.ts hey-api/sdk.gen.ts codegen/index.ts; do
  grep -q . "clients/$client"
  echo "clients/$client compiles"
done
