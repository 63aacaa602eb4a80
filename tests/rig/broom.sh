#!/bin/sh
# Sweep up when the process that made a rig closes the pipe, or dies of whatever it may be.
set -u
cgroup=$1 bridge=$2 folder=$3
cat >/dev/null
echo 1 >"$cgroup/cgroup.kill"
while grep -q 'populated 1' "$cgroup/cgroup.events"; do sleep 0.01; done
for link in /sys/class/net/"$bridge" /sys/class/net/"$bridge"-*; do
    [ ! -e "$link" ] || ip link delete "${link##*/}"
done
for disk in "$folder"/disks/*; do
    [ ! -d "$disk" ] || umount -l "$disk"
done
rm -rf --one-file-system "$folder"
for group in "$cgroup"/*/ "$cgroup"; do
    [ ! -d "$group" ] || rmdir "$group"
done
