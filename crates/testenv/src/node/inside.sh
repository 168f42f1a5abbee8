# The first process of a node's namespaces: inside.sh STATE. Whatever the node writes outside of its own folder lands in
# memory, and is gone with the namespaces.
set -eu
state=$1

mount -n -t tmpfs -o mode=0755 backstop-node "$state/run"
mkdir -p "$state/run/backstop/sys" "$state/run/backstop/etc" "$state/run/lock"
mount -n --bind "$state/etc" "$state/run/backstop/etc"
mount -n --move "$state/run" /run
for place in /var/lib /var/log; do
  over=/run/backstop/over$place
  mkdir -p "$over/upper" "$over/work"
  mount -n -t overlay -o "lowerdir=$place,upperdir=$over/upper,workdir=$over/work" overlay "$place"
done
# The kubelet sets these as it likes them. They are the whole machine's, so it gets files to write to.
for setting in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops \
  kernel/keys/root_maxkeys kernel/keys/root_maxbytes; do
  copy=/run/backstop/sys/$(echo "$setting" | tr / -)
  cat "/proc/sys/$setting" > "$copy"
  mount -n --bind "$copy" "/proc/sys/$setting"
done
# Volumes of pods are mounted after their containers were made.
mount -n --make-rshared /
echo 1 > /proc/sys/net/ipv4/ip_forward
echo ready
# Reaps what others leave behind, as a first process has to.
sleep infinity &
wait
