#!/bin/busybox sh
# Process 1 of the guest. Makes the host's files the root file system, read-only under an overlay in memory; runs
# /command there; says "code taint" on the third serial port and switches the machine off. The second port is the
# command's output. Whatever goes wrong before is said on the first one, the kernel's console, and nothing on the third.
export PATH=/bin
/bin/busybox --install -s /bin

die() {
    echo "init: $1 failed"
    poweroff -f
}

mount -t proc proc /proc && mount -t sysfs sysfs /sys && mount -t devtmpfs devtmpfs /dev || die "mounting /proc, /sys, /dev"
for module in /modules/*; do
    insmod "$module" || die "inserting $module"
done
mount -t virtiofs -o ro host /lower || die "mounting the host's files"
mount -t tmpfs tmpfs /over && mkdir /over/upper /over/work &&
    mount -t overlay -o lowerdir=/lower,upperdir=/over/upper,workdir=/over/work overlay /guest || die "mounting the overlay"

for directory in proc sys dev; do
    mount --move "/$directory" "/guest/$directory" || die "moving /$directory"
done
mkdir -p /guest/dev/pts /guest/dev/shm /guest/lib/modules
for mount in "devpts /dev/pts" "tmpfs /dev/shm" "tmpfs /run" "bpf /sys/fs/bpf"; do
    mount -t "${mount% *}" "${mount% *}" "/guest${mount#* }" || die "mounting ${mount#* }"
done
# The kernel itself fetches modules by this path when it needs them, as for `ip link add type veth`.
modules=$(cat /kernel-modules)
ln -s "$modules" /guest/lib/modules/
[ -e /guest/sbin/modprobe ] || cp /bin/busybox /guest/sbin/modprobe
cp /bin/busybox /command /guest/run/
hostname stock
ip link set lo up

stty -F /guest/dev/ttyS1 raw
# Process 1 itself changes its root: the kernel's own look for modules begins where it does.
exec chroot /guest /run/busybox sh -c '
    /run/command </dev/null >/dev/ttyS1 2>&1
    echo "$? $(cat /proc/sys/kernel/tainted)" >/dev/ttyS2
    /run/busybox poweroff -f'
