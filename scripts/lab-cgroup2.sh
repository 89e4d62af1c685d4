#!/usr/bin/env bash
# The lab on a kernel that has cgroup v2 only: a guest of Debian's cloud kernel, emulated, in which `weft-lab up --nodes 1` runs as far as one
# container under its limits, and `weft-lab down` leaves nothing. Nothing is installed in the guest: it sees copies of this machine's programs.
source "$(dirname "$0")/lib.sh"

need_root lab-cgroup2
scripts/packages.sh qemu-system-x86 cpio kmod
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
mkdir -p "$root"/{usr/{bin,sbin,lib,lib64,local/bin},etc,proc,sys,dev,run,tmp,var/lib,root,cache}
for d in bin sbin lib lib64; do ln -s "usr/$d" "$root/$d"; done

say "what the lab runs, from the cache"
(cd lab && go build -o "$root/usr/local/bin/weft-lab" ./cmd/weft-lab)
export WEFT_LAB_CACHE=${WEFT_LAB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/weft-lab}
"$root/usr/local/bin/weft-lab" build | tee "$work/built"
# Programs and the archives made of them lie side by side.
grep '^/' "$work/built" | sort -u | while read -r file; do cp -u "$file" "${file%.tar}" "$root/cache/"; done
# In the guest Go has nothing to build, but is asked for its version, which is part of the names in the cache.
printf '#!/bin/sh\ncat <<END\n%s\nEND\n' "$(go env GOVERSION GOARCH)" >"$root/usr/local/bin/go"
chmod 755 "$root/usr/local/bin/go"

say "guest"
kernel=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image/ {print $2; exit}')
kernels=${WEFT_LAB_CACHE}/kernels
mkdir -p "$kernels"
if ! compgen -G "$kernels/${kernel}_*.deb" >/dev/null; then
	(cd "$kernels" && apt-get download -qq -o APT::Sandbox::User=root "$kernel")
fi
dpkg -x "$kernels/${kernel}"_*.deb "$work/kernel"
version=$(ls "$work/kernel/lib/modules")
mkdir -p "$root/usr/lib/modules/$version"
(cd "$work/kernel/lib/modules/$version" && cp -r --parents modules.builtin* modules.order kernel/{net,lib,crypto,arch/x86/crypto} kernel/fs/overlayfs \
	kernel/drivers/net/veth.ko "$root/usr/lib/modules/$version/")
depmod -b "$root" "$version"

# with_libraries copies programs and libraries, and what they are linked against.
with_libraries() {
	local file
	for file in "$@"; do
		cp -L --parents "$file" "$root"
		ldd "$file" 2>/dev/null | grep -oE '/[^ ]+' | while read -r lib; do
			[[ -e $root$lib ]] || cp -L --parents "$lib" "$root"
		done
	done
}
programs=()
for p in bash sh cat cp echo grep ls mkdir mknod mount sed sleep sort umount uname xargs find switch_root modprobe ip nft iptables \
	iptables-restore ip6tables ip6tables-restore conntrack nsenter containerd containerd-shim-runc-v2 ctr runc; do
	programs+=("$(PATH=$PATH:/usr/sbin:/sbin command -v "$p" | sed 's,^/\(s\?bin\)/,/usr/\1/,')")
done
with_libraries $(printf '%s\n' "${programs[@]}" | grep ^/)
with_libraries /usr/lib/cni/{ptp,host-local,portmap,loopback} /usr/lib/x86_64-linux-gnu/xtables/*.so
cp /etc/{passwd,group,nsswitch.conf,protocols,services,os-release} "$root/etc/"
cp lab/testdata/guest/{init,limited.yaml} "$root/"

# The first stage only moves to a file system that containers can pivot away from.
cat >"$root/first" <<'END'
#!/bin/bash
mkdir -p /new && mount -t tmpfs -o size=90% tmpfs /new
cp -a /bin /sbin /lib /lib64 /usr /etc /proc /sys /dev /run /tmp /var /root /cache /init /limited.yaml /new/
exec switch_root /new /init
END
chmod 755 "$root/first" "$root/init"
(cd "$root" && find . | cpio -o -H newc --quiet >"$work/initrd")

say "boot (emulated: takes minutes)"
timeout 25m qemu-system-x86_64 -accel tcg,thread=multi -cpu max -smp 2 -m 4G -nographic -no-reboot -nic none \
	-kernel "$work/kernel/boot/vmlinuz-$version" -initrd "$work/initrd" \
	-append "console=ttyS0 rdinit=/first quiet panic=-1 cgroup_no_v1=all" | tee "$work/console" || true
grep -q '^guest: passed' "$work/console" || die "the guest did not pass"
