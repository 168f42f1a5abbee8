# Holds the namespaces of a node: sandbox.sh CGROUP INSIDE STATE.
#
# INSIDE is the script that becomes their first process. When this script is asked to end, or ends in whatever way, that
# process is killed; the kernel then kills whatever else is in its PID namespace and takes mounts, interfaces and rules
# away with the other namespaces. Only the control groups are left to remove.
cgroup=$1 inside=$2 state=$3

setpriv --pdeathsig KILL \
  unshare --mount --net --pid --fork --kill-child --mount-proc --propagation private \
  sh -c "$inside" inside "$state" &
holder=$!
trap 'kill -s KILL "$holder" 2>/dev/null' TERM INT HUP
echo "holder $holder"
# A trap interrupts the first wait.
wait "$holder"
wait "$holder"
trap '' TERM INT HUP

groups() { find /sys/fs/cgroup -mindepth 1 -maxdepth 2 -type d -name "$cgroup" 2>/dev/null; }
tries=0
while [ -n "$(groups)" ] && [ "$tries" -lt 17 ]; do
  for group in $(groups); do find "$group" -depth -type d -exec rmdir {} ';' 2>/dev/null; done
  # Processes that were just killed still belong to their group for a moment.
  [ -z "$(groups)" ] || sleep 0.1
  tries=$((tries + 1))
done
