#!/bin/bash
# What `make install` and `make uninstall` do.
#
#   deploy/install.sh install|uninstall PREFIX UNIT
#
# PREFIX is the directory of lbctl's environment, UNIT the path of the systemd unit. Nothing is enabled or started.
set -euo pipefail

action=$1 prefix=$2 unit=$3
config=/etc/lbctl/lbctl.yaml
pins=/sys/fs/bpf/lbctl
command=/usr/local/bin/lbctl
cd "$(dirname "${BASH_SOURCE[0]}")/.."
umask 022 # people of the group lbctl run the command line from here

reload_systemd() {
    if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
}

install_lbctl() {
    getent group lbctl >/dev/null || groupadd --system lbctl
    deploy/venv.sh "$prefix" runtime.txt
    # The command in everybody's PATH, unless somebody has put another there.
    if [ ! -e "$command" ] || [ -L "$command" ]; then ln -sfn "$prefix/bin/lbctl" "$command"; fi
    install -d "${unit%/*}"
    sed "s|/opt/lbctl/|$prefix/|g" deploy/systemd/lbctl.service | install -m 644 /dev/stdin "$unit"
    if [ ! -e "$config" ]; then
        install -d -m 755 "${config%/*}"
        install -m 640 -g lbctl deploy/examples/pacs.yaml "$config"
    fi
    reload_systemd
    if systemctl --quiet is-active lbctl 2>/dev/null; then
        echo "lbctl is in $prefix. To use it: systemctl restart lbctl (traffic goes on meanwhile)."
    else
        print_first_steps
    fi
}

print_first_steps() {
    cat <<END
lbctl is in $prefix. Nothing runs yet. Next:
  1. edit $config, then: lbctl check $config
  2. start it now and at every boot: systemctl enable --now lbctl
  3. let people use the command line without root: adduser NAME lbctl
END
}

uninstall_lbctl() {
    if [ -d "$pins" ] && [ -n "$(ls -A "$pins")" ]; then
        echo "uninstall: the data plane is still attached (pins in $pins), and it would go on without any means to stop it" >&2
        echo "  hint: systemctl disable --now lbctl && $prefix/bin/lbctl detach" >&2
        exit 1
    fi
    if [ -d /run/systemd/system ]; then systemctl disable --now --quiet "${unit##*/}" || true; fi
    rm -f "$unit"
    reload_systemd
    if [ "$(readlink "$command" || true)" = "$prefix/bin/lbctl" ]; then rm -f "$command"; fi
    # Only a directory that `install` made.
    if [ -e "$prefix/lbctl-stamp" ]; then rm -rf "$prefix"; fi
    echo "lbctl is gone. Kept: ${config%/*}, /var/lib/lbctl, the group lbctl."
}

case $action in
    install) install_lbctl ;;
    uninstall) uninstall_lbctl ;;
    *)
        echo "usage: deploy/install.sh install|uninstall PREFIX UNIT" >&2
        exit 2 ;;
esac
