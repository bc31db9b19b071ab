#!/bin/sh
# Makes an emulated arm64 machine in FOLDER for `python -m export portability --arm64 FOLDER`:
#   FOLDER/qemu   qemu-user of Debian 13 (version 10; 7.2 of Debian 12 crashes in ONNX Runtime 1.31)
#   FOLDER/root   Python 3.11 and its libraries, of Debian 12 for arm64
#   FOLDER/site   numpy and both engines for arm64, in the versions that PYTHON has
#
#   prepare_arm64.sh FOLDER [PYTHON]
#
# Works on Debian 12 or later, x86-64, with apt, dpkg and pip. Packages are only downloaded and unpacked: nothing is installed, and the
# system's own package lists stay as they are. apt checks the signatures by the system's keyring. About 250 MB.
set -eu
[ $# -ge 1 ] || { echo "usage: $0 FOLDER [PYTHON]" >&2; exit 2; }
mkdir -p "$1"
folder=$(cd "$1" && pwd)
python=${2:-python3}
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
apt=$folder/apt

mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$folder/debs" "$folder/wheels"
: > "$apt/status"
for suite in bookworm trixie; do
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main"
done > "$apt/sources.list"
cat > "$apt/apt.conf" <<END
Dir::Etc::sourcelist "$apt/sources.list";
Dir::Etc::sourceparts "-";
Dir::State "$apt";
Dir::State::lists "$apt/lists";
Dir::State::status "$apt/status";
Dir::Cache "$apt/cache";
APT::Architectures { "amd64"; "arm64"; };
APT::Sandbox::User "$(id -un)";
Acquire::Languages "none";
END
export APT_CONFIG="$apt/apt.conf"
apt-get -q update

libraries=""
for name in libc6 libgcc-s1 libstdc++6 zlib1g libexpat1 libffi8 libbz2-1.0 liblzma5 libssl3 \
  libpython3.11-minimal libpython3.11-stdlib python3.11-minimal; do
  libraries="$libraries $name:arm64/bookworm"
done
rm -f "$folder"/debs/*.deb
# shellcheck disable=SC2086  # a list of packages
(cd "$folder/debs" && apt-get -q download qemu-user:amd64/trixie $libraries)

rm -rf "$folder/qemu" "$folder/root" "$folder/site"
mkdir "$folder/qemu"
dpkg --fsys-tarfile "$folder"/debs/qemu-user_*.deb | tar -x -C "$folder/qemu" ./usr/bin/qemu-aarch64
for package in "$folder"/debs/*_arm64.deb; do dpkg -x "$package" "$folder/root"; done

versions=$("$python" -c 'from importlib.metadata import version
print(*(f"{name}=={version(name)}" for name in ("numpy", "onnxruntime", "ai-edge-litert")))')
rm -f "$folder"/wheels/*.whl
# shellcheck disable=SC2086  # a list of packages
"$python" -m pip download -q --no-deps --only-binary=:all: --python-version 3.11 --implementation cp \
  --platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 --platform manylinux2014_aarch64 \
  -d "$folder/wheels" $versions
for wheel in "$folder"/wheels/*.whl; do "$python" -m zipfile -e "$wheel" "$folder/site"; done

rm -rf "$apt" "$folder/debs" "$folder/wheels"

printf 'import numpy, onnxruntime, ai_edge_litert.interpreter\nprint("arm64: numpy", numpy.__version__, "onnxruntime", onnxruntime.__version__)\n' |
  ORT_DISABLE_TELEMETRY=1 PYTHONPATH="$folder/site" \
    "$folder/qemu/usr/bin/qemu-aarch64" -cpu cortex-a72 -L "$folder/root" "$folder/root/usr/bin/python3.11" -
