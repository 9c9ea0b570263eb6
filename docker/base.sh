#!/bin/bash
# A minimal Debian root file system for device images: CPython, the libraries that it and the engines load, certificates.
# Packages are unpacked and nothing of the target runs, so any architecture is made on any machine; needs root and mmdebstrap.
#
#   docker/base.sh ARCHITECTURE OUT.tar [MIRROR ...]        e.g. docker/base.sh arm64 base-arm64.tar
#
# ARCHITECTURE is Debian's: amd64, arm64 or armhf (which gets Debian's numpy: there is no wheel of it).
# MIRROR is an address or a line of sources.list; a snapshot of one day makes the same base again later.
# What is in a base is recorded as dpkg records it.
set -euo pipefail

KEPT="ca-certificates gcc-12-base libbz2-1.0 libc6 libcrypt1 libexpat1 libffi8 libgcc-s1 liblzma5 libpython3.11-minimal
  libpython3.11-stdlib libsqlite3-0 libssl3 libstdc++6 libuuid1 python3.11-minimal zlib1g"
ARMHF="libblas3 libgfortran5 liblapack3 python3-numpy"
# Of the standard library: what develops, shows or tests programs, and modules of libraries that are left out.
UNUSED="ensurepip idlelib lib2to3 pydoc_data test tkinter turtledemo curses"
UNUSED_MODULES="_curses _curses_panel _dbm _gdbm _tkinter _xxsubinterpreters _xxtestfuzz nis readline"

finish() { # in the root file system $1, after everything was unpacked
  local root=$1 archive name path library
  # It removes by relative paths: nowhere but in a root file system that mmdebstrap has just unpacked.
  [[ $root == /?* && -d $root/var/cache/apt/archives && ! $root -ef / ]] || { echo "base.sh: $root is none of mmdebstrap's." >&2; exit 2; }
  cd "$root"
  mkdir -p var/lib/dpkg
  : > var/lib/dpkg/status
  for archive in $(find var/cache/apt/archives -name '*.deb' | LC_ALL=C sort); do
    name=$(dpkg-deb --field "$archive" Package)
    if [[ " $(echo $KEPT $ARMHF) " == *" $name "* ]]; then
      dpkg-deb --field "$archive" | sed '1a Status: install ok installed' >> var/lib/dpkg/status
      echo >> var/lib/dpkg/status
    else # came along as a dependency of something that is not used here
      dpkg-deb --fsys-tarfile "$archive" | tar --list | while read -r path; do
        [[ $path == */ ]] || rm -f "$path"
      done
    fi
  done
  for name in $UNUSED; do rm -rf usr/lib/python3*/"$name"; done
  for name in $UNUSED_MODULES; do rm -f usr/lib/python3*/lib-dynload/"$name".*; done
  rm -rf usr/lib/python3*/{config-*,distutils,turtle.py} usr/lib/python3*/lib-dynload/_test*.so
  # What stands for itself where no program of the distribution runs.
  rm -rf usr/lib/*/gconv usr/lib/*/audit usr/lib/*/perl* usr/sbin sbin usr/share/{applications,binfmts,man,pixmaps,python3} \
    usr/bin/{catchsegv,f2py*,getconf,getent,iconv,ldd,locale,localedef,pldd,py*versions,sotruss,tzselect,zdump} lib/udev lib/systemd
  rm -f usr/lib/*/lib{memusage,pcprofile,c_malloc_debug}.so* lib/*/lib{memusage,pcprofile,c_malloc_debug,mvec,thread_db,nss_hesiod,nsl,SegFault}*
  if [[ -d usr/lib/python3 ]]; then find usr/lib/python3 -depth -type d -name tests -exec rm -rf {} +; fi
  rm -rf usr/lib/python3.11/dist-packages usr/lib/python3/dist-packages/numpy/{distutils,f2py,core/include}
  rm -f usr/lib/python3/dist-packages/numpy/core/{_simd,_rational_tests,_struct_ufunc_tests,_umath_tests,_operand_flag_tests}.*
  find usr/share/doc -type f ! -name copyright -delete
  # A post-installation script would have made these.
  for library in blas lapack; do
    for path in usr/lib/*/$library/lib$library.so.3; do
      [[ -e $path ]] && ln -sf "$library/lib$library.so.3" "$(dirname "$(dirname "$path")")/lib$library.so.3"
    done
  done
  mkdir -p etc/ssl/certs
  find usr/share/ca-certificates -name '*.crt' | LC_ALL=C sort | xargs cat > etc/ssl/certs/ca-certificates.crt
  rm -rf usr/share/ca-certificates etc/ca-certificates* boot home media mnt opt srv
  mkdir -p tmp etc && chmod 1777 tmp
  printf 'root:x:0:0:root:/root:/sbin/nologin\nedgewright:x:65532:65532:edgewright:/var/lib/edgewright:/sbin/nologin\n' > etc/passwd
  printf 'root:x:0:\nedgewright:x:65532:\n' > etc/group
  printf 'PRETTY_NAME="Debian 12, parts for a device"\nID=debian\nVERSION_ID="12"\nVERSION_CODENAME=bookworm\n' > etc/os-release
  find etc usr -depth -type d -empty -delete
}

if [[ ${1:-} == --finish ]]; then
  finish "$2"
  exit
fi
[[ $# -ge 2 ]] || { sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2; }
command -v mmdebstrap > /dev/null || { echo "base.sh needs mmdebstrap: apt-get install mmdebstrap." >&2; exit 1; }
case $1 in
  amd64 | arm64) packages=$KEPT ;;
  armhf) packages="$KEPT $ARMHF" ;;
  *) echo "base.sh: $1 is not amd64, arm64 or armhf." >&2; exit 2 ;;
esac
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-315532800}
umask 022
mkdir -p "$(dirname "$2")"
work=$(mktemp --directory)
trap 'rm -rf "$work" "$2.part"' EXIT
timeout --kill-after=5 "${EDGEWRIGHT_BASE_TIMEOUT_S:-900}" mmdebstrap --quiet --mode=root --variant=extract --format=tar \
  --architectures="$1" --include="$(echo $packages | tr ' ' ,)" --aptopt='Acquire::Check-Valid-Until "false"' --skip=check/qemu \
  --dpkgopt='path-exclude=/usr/share/*' --dpkgopt='path-include=/usr/share/doc/*' \
  --dpkgopt='path-include=/usr/share/ca-certificates/*' \
  --extract-hook="bash '$(realpath "$0")' --finish \"\$1\"" bookworm "$work/base.tar" "${@:3}"
# What apt and mmdebstrap keep for themselves until the end.
mmtarfilter --path-exclude='/etc/apt*' --path-exclude='/etc/dpkg*' --path-exclude='/var/cache/*' --path-exclude='/var/lib/apt*' \
  --path-exclude='/var/log*' --path-exclude='/dev/*' --path-exclude='/proc/*' --path-exclude='/sys/*' < "$work/base.tar" > "$2.part"
mv "$2.part" "$2"
