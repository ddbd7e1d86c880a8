r"""Write a detector as ONNX, and time it against PyTorch.

    python tools/export_onnx.py CONFIG CHECKPOINT --out model.onnx --size 224
    python tools/export_onnx.py dsym://NAME --out model.onnx
    python tools/predict.py INPUT --model CONFIG CHECKPOINT --onnx model.onnx

The file takes ``images`` (B, 3, H, W), float32, BGR from 0 to 255 as the test
pipeline gives them, and gives ``boxes`` (B, P, 4), xyxy in pixels of these
images, and ``scores`` (B, P, classes), before non-maximum suppression. B, H
and W are fixed. Its metadata (key ``dsym``) hold the classes and the hash of
the checkpoint.

--latency also times PyTorch as trained, PyTorch as deployed and onnxruntime at
batch 1 and 8, in turns on images of SteelSynth, and writes the table beside
the model as OUT.latency.json.

Needs: pip install onnx onnxruntime
"""

import argparse
import json
from pathlib import Path

from toolbox_script import one_line_errors

import dsym  # noqa: F401  registers its classes, makes mmyolo fit
from dsym.inference.latency import format_latency, measure_latency
from dsym.inference.model import load_detector, read_config, resolve_model
from dsym.inference.onnx_export import export_onnx


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        'config', help='file, or dsym://NAME alone: of the package'
    )
    parser.add_argument('checkpoint', nargs='?')
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument(
        '--size',
        type=int,
        nargs='+',
        default=[224],
        help='height and width, or one for both; of the test pipeline',
    )
    parser.add_argument('--batch', type=int, default=1)
    parser.add_argument(
        '--latency',
        type=int,
        nargs='?',
        const=50,
        metavar='CALLS',
        help='timed calls of each row; default: 50',
    )
    args = parser.parse_args()
    least = min(
        *args.size, args.batch, 1 if args.latency is None else args.latency
    )
    if len(args.size) > 2 or least < 1:
        parser.error(
            '--size takes one or two numbers, --batch and --latency one, '
            'above 0'
        )
    return args


def main() -> None:
    """Export one detector."""
    args = parse_args()
    size = (args.size[0], args.size[-1])
    with one_line_errors():
        files = resolve_model(args.config, args.checkpoint)
        config = read_config(files)
        model, classes = load_detector(files, config, device='cpu')
        export_onnx(
            model, classes, files.checkpoint, args.out, size, args.batch
        )
        print(args.out)
        if args.latency is not None:
            report = measure_latency(files, size, args.latency)
            print(format_latency(report))
            table = args.out.with_suffix('.latency.json')
            table.write_text(json.dumps(report, indent=2) + '\n')
            print(table)


if __name__ == '__main__':
    main()
