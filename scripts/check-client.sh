#!/usr/bin/env bash
# Runs the program that uses the generated client against a service of its own.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
folder=$(mktemp -d)
port=$((20000 + RANDOM % 10000))
(
  cd "$folder"
  PORT=$port ISSUER_URL=http://localhost:$port LOG_LEVEL=warn exec node "$root/dist/src/latchkey.cjs" serve
) &
service=$!
trap 'kill "$service" && wait "$service" || true; rm -rf "$folder"' EXIT
for _ in $(seq 200); do
  curl -sf -o /dev/null "http://127.0.0.1:$port/readyz" && break
  sleep 0.1
done
node generated/dist/test/generated-client/program.js "http://localhost:$port"
