# The one list of Debian 12 packages that building, trying and testing need; sourced by cluster-configs/quickstart and tests/run.
# Nothing else is downloaded, by these scripts or by the build.

packages=(
  # build
  build-essential cmake ninja-build ccache mold pkg-config git ca-certificates
  libcaf-dev libzmq3-dev cppzmq-dev                       # actors, links
  librocksdb-dev libsnappy-dev libgflags-dev libbz2-dev zlib1g-dev liblz4-dev libzstd-dev libxxhash-dev   # log
  capnproto libcapnp-dev libssl-dev                       # records, admin RPC, HTTP, sha256
  libsimdjson-dev nlohmann-json3-dev libyaml-cpp-dev      # JSON, specs
  libsqlite3-dev liblua5.4-dev                            # expressions and the embedded destination, scripts
  libcli11-dev libspdlog-dev libfmt-dev prometheus-cpp-dev libcurl4-openssl-dev libboost-dev
  libpq-dev                                               # PostgreSQL
  # the quickstart's show
  sqlite3 jq curl
  # tests
  libboost-test-dev libbenchmark-dev clang-format-14 iproute2 nftables procps
  postgresql postgresql-contrib
  etcd-server etcd-client openssl
  clang libclang-rt-14-dev                                # libFuzzer
)

say() { printf '\n== %s\n' "$*"; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

# Installs what is missing, and only then needs root or sudo.
install_packages() {
  local missing=() name
  for name in "${packages[@]}"; do
    dpkg-query -W -f='${db:Status-Status}\n' "$name" 2>/dev/null | grep -qx installed || missing+=("$name")
  done
  if ((${#missing[@]} == 0)); then return; fi
  command -v apt-get >/dev/null || die "needs Debian 12's apt-get to install: ${missing[*]}"
  say "installing ${#missing[@]} packages: ${missing[*]}"
  local root=()
  if ((EUID != 0)); then
    command -v sudo >/dev/null || die "needs root, or sudo, to install: ${missing[*]}"
    root=(sudo)
  fi
  local apt=("${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o Dpkg::Use-Pty=0 -o Acquire::Retries=3)
  # A machine that was never updated knows no packages, one that was updated long ago knows ones that are gone: ask once more.
  "${apt[@]}" install -y --no-install-recommends "${missing[@]}" </dev/null && return
  "${apt[@]}" update </dev/null || die "apt-get update failed; are the mirrors in /etc/apt reachable?"
  "${apt[@]}" install -y --no-install-recommends "${missing[@]}" </dev/null ||
    die "apt-get could not install: ${missing[*]} (this wants Debian 12, bookworm)"
}

# Configures build/ and builds the targets given, or all.
build() {
  say "building ${*:-everything} in $top/build"
  local words
  words=$(cd "$top" && cmake --preset release 2>&1) || { printf '%s\n' "$words" >&2; die "cmake could not configure the build"; }
  cmake --build "$top/build" ${1:+--target "$@"} || die "the build failed"
}
