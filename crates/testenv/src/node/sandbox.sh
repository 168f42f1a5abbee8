# Holds the namespaces of a node: sandbox.sh CGROUP INSIDE STATE.
#
# INSIDE is the script that becomes their first process. When this script is asked to end, or ends in whatever way, that
# process is killed; the kernel then kills whatever else is in its PID namespace and takes mounts, interfaces and rules
# away with the other namespaces. Only the control groups are left to remove.
cgroup=$1 inside=$2 state=$3

# One hierarchy, or one for each controller.
if [ -e /sys/fs/cgroup/cgroup.procs ]; then hierarchies=/sys/fs/cgroup; else hierarchies=/sys/fs/cgroup/*; fi
for hierarchy in $hierarchies; do
  [ ! -e "$hierarchy/cgroup.procs" ] || mkdir -p "$hierarchy/$cgroup"
done

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

left() { for hierarchy in $hierarchies; do [ ! -d "$hierarchy/$cgroup" ] || echo "$hierarchy/$cgroup"; done; }
tries=0
while [ -n "$(left)" ] && [ "$tries" -lt 100 ]; do
  for group in $(left); do find "$group" -depth -type d -exec rmdir {} ';' 2>/dev/null; done
  # Processes that were just killed still belong to their group for a moment.
  [ -z "$(left)" ] || sleep 0.1
  tries=$((tries + 1))
done
