#!/bin/sh
# Install the programs that tests talk to: on Debian as root, or under CI. Elsewhere, say how and go on.
set -eu

PATH="$PATH:/usr/sbin:/sbin"
packages="dcmtk orthanc orthanc-dicomweb redis-server postgresql strace openssl default-jre-headless libpixelmed-java libsaxonb-java bcftools plink2 chromium npm"

missing=""
for program in dsrdump Orthanc redis-server strace openssl java bcftools plink2 chromium npm; do
    command -v "$program" >/dev/null || missing="$missing $program"
done
ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || missing="$missing postgresql"
test -e /usr/share/orthanc/plugins/libOrthancDicomWeb.so || missing="$missing orthanc-dicomweb"
for jar in pixelmed saxonb; do
    test -e "/usr/share/java/$jar.jar" || missing="$missing $jar.jar"
done
test -n "$missing" || exit 0

as_root=""
if test "$(id -u)" != 0 && test "${CI:-}" = true; then
    as_root="sudo -n"
fi
if ! command -v apt-get >/dev/null; then
    echo "tests that need$missing are skipped; macOS: brew install dcmtk redis postgresql"
elif test "$(id -u)" != 0 && test -z "$as_root"; then
    echo "tests that need$missing are skipped; install them with: sudo apt-get install $packages"
else
    # RUNLEVEL=1: the packages' own services are not started; each test starts what it needs.
    set -- env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends $packages
    $as_root "$@" >/dev/null 2>&1 || { $as_root apt-get update -qq && $as_root "$@" >/dev/null; }
fi
