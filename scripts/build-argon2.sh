#!/usr/bin/env bash
# Compiles the C core of the argon2 package for AVX2 and for AVX-512. The core chooses its instructions when
# it is compiled, and the binary in the package uses SSE2, which is half as fast. The service loads the
# fastest build that its processor can run.
#
#   scripts/build-argon2.sh [FOLDER]     into native/ beside this folder, unless another is given
set -euo pipefail
cd "$(dirname "$0")/.."
into=${1:-native}

failed() {
  echo "argon2 was not built: $*" >&2
  exit 1
}

mkdir -p "$into"
platform=$(node -p 'process.platform + " " + process.arch')
if [[ $platform != 'linux x64' ]]; then
  echo "On $platform there is nothing to build: the binary that the argon2 package brings is used there."
  exit 0
fi

argon2=node_modules/argon2
cc=${CC:-cc} cxx=${CXX:-c++}
headers=(node_modules/node-addon-api/napi.h node_modules/node-api-headers/include/node_api.h)
for file in "$argon2/argon2.cpp" "${headers[@]}"; do
  [[ -f $file ]] || failed "$file is missing: run npm ci, with the packages for development"
done
for compiler in "$cc" "$cxx"; do
  command -v "$compiler" > /dev/null ||
    failed "there is no compiler $compiler: install g++ (Debian, Alpine) or gcc-c++ (Fedora)"
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# As the package's binding.gyp has it.
flags=(-O3 -fPIC -pthread -fvisibility=hidden -fdata-sections -ffunction-sections -Wno-type-limits)
defines=(-DNDEBUG -DNAPI_VERSION=8 -DNODE_GYP_MODULE_NAME=argon2)
defines+=(-DNODE_ADDON_API_DISABLE_DEPRECATED -DNODE_API_NO_EXTERNAL_BUFFERS_ALLOWED)
# Some distributions have their compilers define it.
defines+=(-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
folders=(-I "$argon2/argon2/include" -I node_modules/node-addon-api -I node_modules/node-api-headers/include)

# A name, and the one macro that opt.c looks for, by the flag of the compiler that defines it.
build() {
  local name=$1 instructions=$2 source folder
  local objects=() target
  folder=$into/argon2-$(node -p "require('argon2/package.json').version")/$name/build/Release
  target=$work/$name.node
  for source in argon2 blake2/blake2b core encoding thread opt; do
    objects+=("$work/$name-${source##*/}.o")
    "$cc" -std=gnu11 "${flags[@]}" "$instructions" "${defines[@]}" "${folders[@]}" \
      -c "$argon2/argon2/src/$source.c" -o "${objects[-1]}" || failed "$source.c does not compile for $name"
  done
  objects+=("$work/$name.o")
  "$cxx" -std=c++17 -fexceptions "${flags[@]}" "${defines[@]}" "${folders[@]}" \
    -c "$argon2/argon2.cpp" -o "${objects[-1]}" ||
      failed "argon2.cpp does not compile: is g++ there, and not only gcc?"
  "$cxx" -shared -pthread -Wl,--gc-sections -s "${objects[@]}" -o "$target" || failed "$name does not link"
  mkdir -p "$folder"
  # A service may have the one before open.
  cp "$target" "$folder/argon2.node.new"
  mv "$folder/argon2.node.new" "$folder/argon2.node"
  echo "$folder/argon2.node"
}

build avx2 -mavx2
build avx512 -mavx512f
