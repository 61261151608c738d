#!/usr/bin/env bash
# A real S3 server on loopback: Ceph's gateway over one monitor and one OSD in memory, from Debian's packages.
#
#   gateway.sh start DIR PORT   installs what is missing, starts it, waits until it answers; PORT + 1 is the monitor's
#   gateway.sh stop DIR
#
# Bucket `bigarray`, keys `test` and `testtest`. BIND=0.0.0.0 lets other network namespaces in.
set -euo pipefail
command=$1 dir=$2

if [ "$command" = stop ]; then
  for file in "$dir"/*.pid; do
    pid=$(cat "$file" 2> /dev/null) || continue
    kill "$pid" 2> /dev/null || true
    # One that a test stopped takes the signal only when it goes on.
    kill -CONT "$pid" 2> /dev/null || true
    for _ in $(seq 300); do
      kill -0 "$pid" 2> /dev/null || break
      sleep 0.1
    done
    kill -KILL "$pid" 2> /dev/null || true
  done
  exit 0
fi

port=$3 bind=${BIND:-127.0.0.1}
if ! { command -v radosgw && command -v ceph-mon && command -v ceph-osd; } > /dev/null; then
  apt-get update && apt-get install -y --no-install-recommends radosgw ceph-mon ceph-osd
fi
rm -rf "$dir"
# What is started by then is stopped again.
trap '"$0" stop "$dir"' ERR
mkdir -p "$dir"/{mon,osd,gateway}
conf=$dir/ceph.conf monitor=127.0.0.1:$((port + 1))
{
  echo "[global]"
  echo "fsid = $(cat /proc/sys/kernel/random/uuid)"
  echo "mon host = $monitor"
  # One of each, no authentication among them. Without "crc" a monitor that asks for none is not spoken to.
  cat << 'END'
auth cluster required = none
auth service required = none
auth client required = none
ms mon client mode = crc
ms bind ipv6 = false
public addr = 127.0.0.1
cluster addr = 127.0.0.1
mon allow pool size one = true
mon warn on pool no redundancy = false
mon data avail warn = 1
mon data avail crit = 1
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
osd objectstore = memstore
memstore device bytes = 8589934592
osd max object name len = 256
osd max object namespace len = 64
rgw dynamic resharding = false
rgw thread pool size = 64
END
  # Without tcp_nodelay each small request takes 40 ms.
  echo "rgw frontends = beast endpoint=$bind:$port tcp_nodelay=1"
  echo "mon data = $dir/mon"
  echo "osd data = $dir/osd"
  echo "rgw data = $dir/gateway"
  echo "run dir = $dir"
  echo "admin socket = $dir/\$name.asok"
  echo "pid file = $dir/\$name.pid"
  echo "log file = $dir/\$name.log"
  echo "setuser match path = $dir"
} > "$conf"

monmaptool --create --clobber --add a "$monitor" --fsid "$(sed -n 's/^fsid = //p' "$conf")" "$dir/monmap" > /dev/null
ceph-mon -c "$conf" --mkfs -i a --monmap "$dir/monmap"
ceph-mon -c "$conf" -i a
osd=$(cat /proc/sys/kernel/random/uuid)
ceph -c "$conf" osd new "$osd" > /dev/null
ceph-osd -c "$conf" -i 0 --mkfs --osd-uuid "$osd" 2> "$dir/mkfs.log"
ceph-osd -c "$conf" -i 0 > /dev/null
radosgw -c "$conf" -n client.rgw --no-mon-config

url=http://127.0.0.1:$port
for _ in $(seq 300); do
  curl -s -o /dev/null "$url" && break
  sleep 0.2
done
curl -s -o /dev/null "$url"
timeout 60 radosgw-admin -c "$conf" user create --uid test --display-name test --access-key test --secret testtest > /dev/null
# A bucket is made by a signed request, which the gateway takes only with the hash of its (empty) body.
curl -sf -X PUT -H "x-amz-content-sha256: $(printf '' | sha256sum | cut -d ' ' -f 1)" \
  --aws-sigv4 aws:amz:us-east-1:s3 --user test:testtest "$url/bigarray"
echo "Ceph's gateway answers at $url"
