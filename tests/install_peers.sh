#!/bin/sh
# Install the programs that tests talk to: on Debian as root, or under CI. Elsewhere, say how and go on.
set -eu

PATH="$PATH:/usr/sbin:/sbin"
packages=""
has() { command -v "$1" >/dev/null; }

has dsrdump || packages="$packages dcmtk"
has Orthanc || packages="$packages orthanc"
test -e /usr/share/orthanc/plugins/libOrthancDicomWeb.so || packages="$packages orthanc-dicomweb"
ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || packages="$packages postgresql"
has java || packages="$packages default-jre-headless"
test -e /usr/share/java/pixelmed.jar || packages="$packages libpixelmed-java"
test -e /usr/share/java/saxonb.jar || packages="$packages libsaxonb-java"
# Only what is missing: a Node.js that is not Debian's own brings an npm with which Debian's conflicts.
for program in redis-server strace openssl bcftools plink2 chromium npm; do
    has "$program" || packages="$packages $program"
done
test -n "$packages" || exit 0

as_root=""
if test "$(id -u)" != 0 && test "${CI:-}" = true; then
    as_root="sudo -n"
fi
if ! command -v apt-get >/dev/null; then
    echo "tests that need$packages are skipped; macOS: brew install dcmtk redis postgresql"
elif test "$(id -u)" != 0 && test -z "$as_root"; then
    echo "tests that need$packages are skipped; install them with: sudo apt-get install$packages"
else
    # RUNLEVEL=1: the packages' own services are not started; each test starts what it needs.
    set -- env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends $packages
    $as_root "$@" >/dev/null 2>&1 || { $as_root apt-get update -qq && $as_root "$@" >/dev/null; }
fi
