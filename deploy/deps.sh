#!/bin/bash
# Installs Debian packages and starts, enables and changes nothing else.
#
#   deploy/deps.sh runtime    what lbctl needs
#   deploy/deps.sh lab        what only the demo, the tests and the benchmarks need
#   deploy/deps.sh kernel     Debian's stock kernel for tests/otherkernel: unpacked into the cache directory, not installed
#
# Debian starts and enables a daemon as soon as its package is installed, and gives PostgreSQL a first cluster. A machine
# on which somebody tries a load balancer must not come out of it with an archive, a database and a web server running.
# So apt runs in a private mount namespace in which
#   - policy-rc.d denies every start (the machine's own policy-rc.d is covered by a bind mount, never written to),
#   - a systemd preset leaves new units disabled,
#   - createcluster.d says that PostgreSQL gets no cluster.
# The kernel takes those mounts away with the last process of the namespace, so nothing has to be restored, whatever
# happens: failure, Ctrl-C, kill -9.
set -euo pipefail
export LC_ALL=C

runtime=(
    ethtool             # VLAN offload, before a native attach
    libbpf1             # loads programs, makes links
    libc6-dev           # headers that the kernel's own lean on
    linux-libc-dev      # the kernel's UAPI headers, for the BPF program
    python3
    python3-bpfcc       # the compiler
    python3-venv
)
lab=(
    curl                # what people try first in a lab
    dcmtk               # DICOM clients
    git                 # tests ask it which files are part of the project
    iproute2
    iputils-arping
    iputils-ping
    libfaketime         # a daemon whose wall clock jumps
    nginx
    openssl             # certificates for HTTPS peers
    orthanc             # archives
    orthanc-dicomweb
    orthanc-postgresql
    postgresql
    procps
    qemu-system-x86     # tests on Debian's stock kernel
    systemd             # systemd-analyze verifies the unit
    tcpdump
)

stock_kernel=${XDG_CACHE_HOME:-~/.cache}/lbctl/stock-kernel

policy=/usr/sbin/policy-rc.d
presets=/run/systemd/system-preset
clusters=/etc/postgresql-common/createcluster.d

die() {
    echo "deps: $1" >&2
    [ $# -lt 2 ] || echo "  hint: $2" >&2
    exit 1
}

missing() { # the packages among the arguments that are not installed, one a line
    comm -13 <(known '^.i' "$@") <(printf '%s\n' "$@" | sort -u)
}

known() { # the packages whose dpkg status matches $1 (of those named, or of all), one a line, sorted
    local status=$1
    shift
    # dpkg-query fails if one of the names is unknown to it, and still prints the others.
    { dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' "$@" 2>/dev/null || true; } |
        awk -v status="$status" '$1 ~ status { print $2 }' | sort -u
}

forbid_services() { # in the private mount namespace only
    mount -t tmpfs -o mode=755 tmpfs "$presets"
    echo 'disable *' >"$presets/00-lbctl.preset"
    install -m 755 /dev/stdin "$presets/policy-rc.d" <<<$'#!/bin/sh\nexit 101'
    mount --bind "$presets/policy-rc.d" "$policy"
    mount -t tmpfs -o mode=755 tmpfs "$clusters"
    echo "create_main_cluster = off" >"$clusters/lbctl.conf"
}

install_in_namespace() {
    forbid_services
    export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1
    local apt=(apt-get -q -y -o DPkg::Lock::Timeout=300)
    "${apt[@]}" update
    "${apt[@]}" -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold \
        install --no-install-recommends "$@"
}

make_mount_points() { # empty ones; `made` remembers which were not there
    local dir
    for dir in "$presets" "${clusters%/*}" "$clusters"; do
        [ -d "$dir" ] || { mkdir -p "$dir" && made+=("$dir"); }
    done
    # Without the x bit it denies nothing, should this process die before it is removed.
    [ -e "$policy" ] || { install -m 644 /dev/null "$policy" && made+=("$policy"); }
}

remove_mount_points() {
    local i path
    for ((i = ${#made[@]} - 1; i >= 0; i--)); do
        path=${made[i]}
        if [ -d "$path" ]; then
            rmdir --ignore-fail-on-non-empty "$path"
        elif [ ! -s "$path" ]; then
            rm -f "$path"
        fi
    done
}

disable_services_of() { # the preset does not reach SysV links, nor machines without systemctl
    local package path name
    for package in "$@"; do
        # deb-systemd-helper wants to be called from a package's script. It undoes only what it did itself, and keeps the
        # note by which a later upgrade of the package knows that the unit is to stay disabled.
        export DPKG_MAINTSCRIPT_PACKAGE=$package
        for path in $(dpkg -L "$package" 2>/dev/null); do
            name=${path##*/}
            case $path in
                /etc/init.d/*)
                    if compgen -G "/etc/rc?.d/S??$name" >/dev/null; then update-rc.d "$name" disable; fi ;;
                */systemd/system/*.service | */systemd/system/*.socket | */systemd/system/*.timer)
                    if deb-systemd-helper --quiet debian-installed "$name"; then deb-systemd-helper disable "$name"; fi ;;
            esac
        done
    done
}

finish() { # also after a failure or Ctrl-C, when some packages may be there and others not
    trap '' INT TERM
    local new
    mapfile -t new < <(comm -13 "$before" <(known '^.[^nc]'))
    [ ${#new[@]} -eq 0 ] || disable_services_of "${new[@]}"
    remove_mount_points
    rm -f "$before"
}

install_packages() {
    [ "$(id -u)" -eq 0 ] || die "not root, and these packages are missing: $*" "run the same command with sudo"
    command -v apt-get >/dev/null || die "no apt-get: this machine is not Debian" "install the equivalents of: $*"
    unshare --mount true || die "root may not make a mount namespace here (a container without privileges?)" \
        "lbctl needs the same right to run; use a machine or a privileged container"
    made=()
    before=$(mktemp)
    known '^.[^nc]' >"$before"
    trap finish EXIT
    trap 'exit 130' INT TERM
    make_mount_points
    unshare --mount "${BASH_SOURCE[0]}" in-namespace "$@" </dev/null || die "apt-get failed; its messages are above"
}

# An emulated machine boots this kernel from an initramfs with a static busybox. Neither is installed: they are none of this
# machine's business. What is there stays; remove the directory to have the latest.
unpack_kernel() { # into $1
    local metapackage=linux-image-cloud-amd64 package quiet=(-q -o APT::Sandbox::User=root)
    [ "$(id -u)" -ne 0 ] || apt-get "${quiet[@]}" update
    package=$(apt-cache depends --important "$metapackage" | awk '$1 == "Depends:" { print $2; exit }')
    [ -n "$package" ] || die "apt knows no $metapackage" "apt-get update"
    cd "$1"
    apt-get "${quiet[@]}" download "$package" busybox-static || die "apt-get failed; its messages are above" "apt-get update"
    local archive
    for archive in *.deb; do
        dpkg-deb -x "$archive" .
        rm "$archive"
    done
    bin/busybox depmod -b . "$(basename lib/modules/*)"
}

fetch_kernel() { # all of it or nothing
    [ ! -d "$stock_kernel" ] || return 0
    mkdir -p "${stock_kernel%/*}"
    local fresh
    fresh=$(mktemp -d "$stock_kernel.XXXXXX")
    # shellcheck disable=SC2064 # this very directory
    trap "rm -rf '$fresh'" EXIT
    (unpack_kernel "$fresh")
    chmod 755 "$fresh"
    mv -T "$fresh" "$stock_kernel"
}

case ${1-} in
    kernel)
        fetch_kernel
        exit ;;
    runtime) wanted=("${runtime[@]}") ;;
    lab) wanted=("${lab[@]}") ;;
    in-namespace) # how install_packages calls this file again
        shift
        install_in_namespace "$@"
        exit ;;
    *) die "usage: deploy/deps.sh runtime|lab|kernel" ;;
esac
mapfile -t needed < <(missing "${wanted[@]}")
[ ${#needed[@]} -eq 0 ] || install_packages "${needed[@]}"
