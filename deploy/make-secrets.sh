#!/bin/sh
# Makes the secrets of the compose file that can be made: passwords, and the addresses that hold
# them. What is there is kept. The broker's password is asked for, on a terminal.
set -eu
cd "$(dirname "$0")"
umask 077
mkdir -p secrets
cd secrets

make() { # NAME: 48 hexadecimal digits
    [ -s "$1" ] || od -An -N24 -tx1 /dev/urandom | tr -d ' \n' > "$1"
}

make postgres_password
make redis_password
printf 'postgresql+psycopg2://hydra:%s@127.0.0.1:5432/dagster' "$(cat postgres_password)" \
    > postgres_url
printf 'redis://:%s@127.0.0.1:6379/0' "$(cat redis_password)" > redis_url
if [ ! -s tws_password ]; then
    if [ -t 0 ]; then
        printf 'Password of the IB user (not shown): '
        stty -echo
        read -r password
        stty echo
        echo
        printf '%s' "$password" > tws_password
    else
        echo "secrets/tws_password is missing: put the IB user's password there" >&2
        exit 1
    fi
fi
# Containers read them as users of their own; on this machine nobody else gets into the folder.
chmod 644 ./*
chmod 700 .
