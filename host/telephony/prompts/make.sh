#!/bin/sh
# Remakes the shipped prompts and src/simulator/prompts.rs from texts.tsv.
# Needs espeak-ng and sox (Debian: apt-get install espeak-ng sox); whoever builds or runs Voxtra needs neither.
set -eu
cd "$(dirname "$0")"
table=../src/simulator/prompts.rs
wave=$(mktemp --suffix=.wav)
trap 'rm -f "$wave"' EXIT
mkdir -p digits

# Both ends trimmed of silence, 40 ms left at the end, at about the loudness of a voice on a telephone line.
to_ulaw() {
    sox "$wave" -D -r 8000 -c 1 -e mu-law -t wav "$1" highpass 200 \
        silence 1 0.01 0.5% reverse silence 1 0.01 0.5% reverse norm -5 pad 0 0.04
}

{
    echo "//! The shipped prompts. Made by \`prompts/make.sh\` from \`prompts/texts.tsv\`; do not edit."
    echo
    echo "/// Name, spoken text, and the bytes of a WAV file: mu-law, 8 kHz, mono."
    echo "pub(super) static SHIPPED: &[(&str, &str, &[u8])] = &["
} >"$table"
entry() {
    echo "    (\"$1\", \"$2\", include_bytes!(\"../../prompts/$1.wav\"))," >>"$table"
}
while IFS='	' read -r name text; do
    case $name in
        digits/*) speed=185 ;;
        *) speed=190 ;;
    esac
    espeak-ng -v en-us -p 42 -s "$speed" -w "$wave" "$text"
    to_ulaw "$name.wav"
    entry "$name" "$text"
done <texts.tsv
sox -D -n -r 8000 -c 1 -e mu-law beep.wav synth 0.2 sine 1000 fade q 0.005 0.2 0.005 gain -8
entry beep "(a tone of 1,000 Hz)"
sox -D -n -r 8000 -c 1 -e mu-law beeperr.wav synth 0.3 sine 425 fade q 0.005 0.3 0.005 gain -8
entry beeperr "(a tone of 425 Hz)"
echo "];" >>"$table"
if command -v rustfmt >/dev/null; then rustfmt --edition 2024 "$table"; fi
