#!/bin/sh
# Makes an image of a root file system that holds the packages: finish.sh ROOT CERTIFICATES
# ROOT is the bootstrapped tree, or / when this runs inside an image build.
set -eu
root=${1%/}
certificates=$2

# Where Loki mounts things; a read-only root cannot grow them later.
mkdir -p "$root/work" "$root/home/agent" "$root/loki/link" "$root/usr/local/share/ca-certificates"

# The host's certificate authorities: networks that inspect TLS are otherwise unreachable.
for certificate in "$certificates"/*.crt; do
    [ -e "$certificate" ] && cp "$certificate" "$root/usr/local/share/ca-certificates/"
done
if [ -n "$root" ]; then chroot "$root" update-ca-certificates; else update-ca-certificates; fi

# No program of an image may gain rights, also where no_new_privs would stop it anyway.
find "$root/" -xdev \( -type f -o -type d \) -perm /6000 -exec chmod ug-s {} +

# An image is not a place to install packages or to read manuals.
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/cache/debconf/*-old "$root"/var/log/*
rm -rf "$root"/usr/share/man/* "$root"/usr/share/info/* "$root"/usr/share/locale/*
find "$root/usr/share/doc" -type f ! -name copyright -delete
