#!/bin/bash
# Whether an IB Gateway or TWS answers on a port, by the first two messages of its API. That the
# port is open says little: in a container it is a relay's, which listens before the gateway does.
#   ib_handshake.sh PORT [HOST [SECONDS]]
set -u
port=${1:?usage: ib_handshake.sh PORT [HOST [SECONDS]]} host=${2:-127.0.0.1} patience=${3:-5}

handshake() {
    exec 3<>"/dev/tcp/$host/$port" || return 1
    # The prefix, then the versions that we speak, with their length in four bytes.
    printf 'API\0\0\0\0\011v100..176' >&3
    # It answers with a length, its version and its time: "176", NUL, "20190102 09:30:00 EST", NUL.
    answer=$(head -c 7 <&3 | tail -c 3)
    [[ $answer =~ ^[0-9]{3}$ ]]
}

export -f handshake
export port host
if timeout "$patience" bash -c handshake 2>/dev/null; then
    echo "the API answers on $host:$port"
else
    echo "no API handshake on $host:$port" >&2
    exit 1
fi
