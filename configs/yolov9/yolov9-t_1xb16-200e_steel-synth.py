"""YOLOv9-t on synthetic steel with the recipe and the size of NEU-DET.

Nothing to download: what `tools/benchmark.py detector` trains.
"""
_base_ = [
    '../_base_/models/yolov9_t.py',
    '../_base_/datasets/steel_synth.py',
    '../_base_/schedules/muon_200e.py',
    '../_base_/default_runtime.py',
]
