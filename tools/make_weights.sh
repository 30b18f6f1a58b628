#!/bin/sh
# Makes the weights of `compact` from nothing: material, extractors, RT-DeepLoc, calibration and decision.
#
#     sh tools/make_weights.sh MEDIA OUT
#
# Needs espeak-ng, which tells machine voices how words sound. MEDIA is a folder of media with tables
# (tools/gather_media.py says which), OUT a folder for all that is made. Every stage goes on where it was ended, and one
# that is done costs little: run it again after an interruption. On two cores it takes about a day. The weights are in
# OUT/weights at the end.
set -eu

media=$1 out=$2
pipeline=${PIPELINE:-.venv/bin/pipeline} python=${PYTHON:-.venv/bin/python}
authentic=$out/gathered/authentic pictures=$out/gathered/pictures pairs=$out/gathered/pairs.csv
lyra=synthesize.lyra=$media/lyra

stage() {  # NAME COMMAND...: runs the command once
    name=$1
    shift
    [ -e "$out/.done/$name" ] && return
    echo "== $name"
    # 4: something was left out, and said so.
    "$@" || [ $? -eq 4 ]
    touch "$out/.done/$name"
}

mkdir -p "$out/.done"
stage parts "$python" tools/pretrained_parts.py --out "$out/parts"
stage gather "$python" tools/gather_media.py --media "$media" --out "$out/gathered"

# Pictures for the extractors, forged by real generators and by our own manipulations in part.
stage generators "$pipeline" synthesize --pairs "$pairs" --split train --out "$out/sets/generators"
stage own "$pipeline" synthesize --input "$authentic" --preset extractors --split train --seed 1 \
    --set synthesize.variants=2 --set synthesize.whole_share=0 --set "$lyra" --out "$out/sets/own"
stage pictures "$pipeline" synthesize --input "$pictures" --preset extractors --split train --seed 2 \
    --set synthesize.variants=5 --set synthesize.whole_share=0 --set "$lyra" --out "$out/sets/pictures"

# Sound learns from sound alone: recordings and the sound of the clips, by generators, by our own hand in part, and from
# end to end. Piper speaks in test splits only.
stage voices "$python" tools/machine_voices.py --out "$out/voices"
spoken=synthesize.voices=$out/voices
stage sound-pairs "$pipeline" synthesize --pairs "$out/gathered/pairs_of_sounds.csv" --split train \
    --out "$out/sets/sound-pairs"
stage sound-own "$pipeline" synthesize --input "$out/gathered/sounds" --preset extractors --split train --seed 1 \
    --set synthesize.variants=2 --set synthesize.whole_share=0 --set "$lyra" --set "$spoken" --out "$out/sets/sound-own"
stage sound-whole "$pipeline" synthesize --input "$out/gathered/sounds" --preset extractors --split train --seed 3 \
    --set synthesize.variants=2 --set synthesize.whole_share=1 --set "$lyra" --set "$spoken" --out "$out/sets/sound-whole"

# For RT-DeepLoc, which learns from the clips' labels alone; and for what is chosen on people and generators apart.
stage train-set "$pipeline" synthesize --input "$pictures" --preset lavdf --split train --seed 6 \
    --set synthesize.variants=2 --set synthesize.presented=0.7 --out "$out/sets/train"
stage dev-set "$pipeline" synthesize --input "$authentic" --preset lavdf --split dev --seed 5 \
    --set synthesize.presented=0.7 --out "$out/sets/dev"
stage genuine-dev "$pipeline" synthesize --pairs "$pairs" --split dev --out "$out/sets/genuine-dev"

# Pictures that our own forger makes from end to end teach the wrong thing (docs/decisions.md), its sound does not.
stage sound "$pipeline" pretrain --track audio --out "$out/sound" \
    --dataset "$out/sets/sound-pairs" --dataset "$out/sets/sound-own" --dataset "$out/sets/sound-whole" \
    --set "pretrain.ear=$out/parts/ear.safetensors"
# Else a change of the speaker is taken for a forgery.
stage turns "$pipeline" pretrain --track audio --out "$out/extractors" \
    --dataset "$out/sets/sound-pairs" --dataset "$out/sets/sound-own" \
    --set "pretrain.ear=$out/parts/ear.safetensors" --set "pretrain.start=$out/sound/voice_traces.safetensors" \
    --set pretrain.turns=150 --set pretrain.audio_steps=1200 --set pretrain.learning_rate=0.002
stage picture "$pipeline" pretrain --track visual --out "$out/extractors" \
    --dataset "$out/sets/generators" --dataset "$out/sets/own" --dataset "$out/sets/pictures" \
    --set "pretrain.eye=$out/parts/eye.safetensors" --set pretrain.folds=4
resume=
[ -e "$out/run" ] && resume=--resume
stage rt-deeploc "$pipeline" train --weights "$out/extractors" --dataset "$out/sets/train" \
    --store "$out/features" --out "$out/run" $resume
# There are no face swaps among the dev clips: the folds' networks have judged those of the train split, unseen.
stage decision "$pipeline" tune --weights "$out/run/weights" --store "$out/features" \
    --dataset "$out/sets/genuine-dev" --dataset "$out/sets/dev" --unseen "$out/extractors"
stage ship cp -r "$out/run/weights" "$out/weights"
