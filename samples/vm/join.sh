#!/bin/sh
# Play a virtual machine in a mesh on this machine: run a program in a network namespace
# of its own whose cable leads to the mesh's bridge. It needs ip(8), nsenter(1) and
# unshare(1), and no rights beyond those of whoever runs the mesh.
#
#   join.sh MESH ADDRESS PROGRAM [ARGUMENT...]
#
# ADDRESS is one that no pod has: pods begin at 10.244.1.1, so 10.244.200.9 will do.
# The program is named by its full path, or by one that PATH leads to.
set -eu
if [ $# -lt 3 ]; then
  echo "use: $0 MESH ADDRESS PROGRAM [ARGUMENT...]" >&2
  exit 64
fi
mesh=$1 address=$2
shift 2
host=$(meshctl --context "local:$mesh" status -o json | sed -n 's/^ *"pid": *\([0-9]*\).*/\1/p' | head -n 1)
node=$(cat /proc/"${host:?mesh $mesh does not run}"/task/*/children | tr ' ' '\n' | sed -n '1p')
exec nsenter --target "${node:?mesh $mesh has no node: it runs without namespaces}" --user --net --preserve-credentials \
  unshare --net --mount sh -euc '
    node=$1 address=$2
    shift 2
    ip link set lo up
    ip link add eth0 type veth peer name "vm$$" netns "$node"
    nsenter --target "$node" --net ip link set "vm$$" master mesh0 up
    ip address add "$address/32" dev eth0
    ip link set eth0 up
    ip route add 10.244.0.1 dev eth0
    ip route add default via 10.244.0.1
    names=$(mktemp)
    echo "nameserver 10.244.0.1" >"$names"
    mount --bind "$names" /etc/resolv.conf
    rm "$names"
    exec "$@"' join "$node" "$address" "$@"
