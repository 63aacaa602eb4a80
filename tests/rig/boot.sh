#!/bin/sh
# Boot a host: into a cgroup and namespaces of its own, its disk put together, then its first process.
# Says when its network can be wired up, awaits that, and says when it has its address.
set -eu
umask 022
if [ "$1" != inside ]; then
    echo $$ >"$1/cgroup.procs"
    shift
    exec unshare --net --mount --pid --fork --uts --ipc --kill-child --propagation private "$0" inside "$@"
fi
layer=$2 disk=$3 shared=$4 installed=$5 name=$6 address=$7 card=$8 gateway=$9 gateway_card=${10}
shift 10
ip link set lo up
ip address add 169.254.169.254/32 dev lo
echo ready
read -r _
ip address add "$address/24" dev eth0
ip link set eth0 address "$card" up
ip neighbour add "$gateway" lladdr "$gateway_card" dev eth0 nud permanent
ip route add default via "$gateway"
echo up
exec >&2

echo "$name" >/proc/sys/kernel/hostname
cd "$disk"
if [ ! -d root ]; then
    mkdir -p root upper/usr upper/etc work/usr work/etc
    cd root
    mkdir dev etc home mnt opt opt/installed proc run srv sys usr var var/cache var/cache/uv var/lib var/log
    mkdir -m 700 root
    mkdir -m 1777 tmp var/tmp
    ln -s usr/bin usr/sbin usr/lib usr/lib64 .
    ln -s ../run var/run
    cd ..
fi
# the programs of this computer; nothing of its users, and none of its secrets
for part in usr etc; do
    mount -t overlay -o "lowerdir=$layer/$part:/$part,upperdir=upper/$part,workdir=work/$part" overlay root/$part
done
mount --rbind root root
cd root
mount -t proc -o nosuid,nodev,noexec proc proc
mount -t sysfs -o ro sysfs sys
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=755 tmpfs dev
mkdir dev/pts dev/shm run/sshd
mount -t tmpfs -o mode=1777 tmpfs dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
ln -s /proc/1/fd/2 dev/console
mknod -m 666 dev/null c 1 3
mknod -m 666 dev/zero c 1 5
mknod -m 666 dev/full c 1 7
mknod -m 666 dev/random c 1 8
mknod -m 666 dev/urandom c 1 9
mknod -m 666 dev/tty c 5 0
mknod -m 666 dev/fuse c 10 229
mount --bind "$shared" var/cache/uv
mount --bind "$installed" opt/installed
mount -o remount,bind,ro opt/installed

pivot_root . mnt
umount -l /mnt
exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin HOME=/root LANG=C.UTF-8 "$@" \
    /usr/sbin/init </dev/null
