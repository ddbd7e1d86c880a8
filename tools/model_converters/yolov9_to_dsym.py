"""Convert official YOLOv9 weights to this package's names.

Reads the training graphs (``yolov9-t/s/m/c/e``, with auxiliary branch) and the
converted ones (``gelan-t/s/m/c/e``), as a state_dict or as the pickled model
that the official repository publishes. The pickle's code is never run: classes
it names become inert containers and only tensors are rebuilt.

Example:
    python tools/model_converters/yolov9_to_dsym.py yolov9-t.pt \
        yolov9-t_dsym.pth
"""

import argparse
import collections
import os.path as osp
import pickle
import re
import types
import zipfile
from typing import Any, Dict, NamedTuple, Optional, Set, Tuple

import torch
from torch import Tensor

StateDict = Dict[str, Tensor]


class Graph(NamedTuple):
    """Which official layer is which module of ours.

    Attributes:
        layers (dict): Official layer index to our module's name.
        detect (int): Index of the detection layer.
    """

    layers: Dict[int, str]
    detect: int


def _trunk(prefix: str, indices: Tuple[int, ...]) -> Dict[int, str]:
    """A trunk: stem, then down-sampling and block of the four stages."""
    names = ['stem'] + [f'stage{s}.{i}' for s in (1, 2, 3, 4) for i in (0, 1)]
    return {i: f'{prefix}.{name}' for i, name in zip(indices, names)}


def _neck(first: int) -> Dict[int, str]:
    """The path-aggregation neck; upsampling and concatenation lie between."""
    names = {
        0: 'reduce_layers.2',
        3: 'top_down_layers.0',
        6: 'top_down_layers.1',
        7: 'downsample_layers.0',
        9: 'bottom_up_layers.0',
        10: 'downsample_layers.1',
        12: 'bottom_up_layers.1',
    }
    return {first + i: f'neck.{name}' for i, name in names.items()}


def _aux_neck(first: int) -> Dict[int, str]:
    return {
        first: 'neck.aux_neck.spp',
        first + 3: 'neck.aux_neck.top_down_layers.0',
        first + 6: 'neck.aux_neck.top_down_layers.1',
    }


def _second_trunk(
    prefix: str, laterals: range, indices: Tuple[int, ...]
) -> Dict[int, str]:
    """A trunk that also takes the first one's features, by CBLinear."""
    names = {i: f'{prefix}.laterals.{n}' for n, i in enumerate(laterals)}
    return {**names, **_trunk(prefix, indices)}


def _graphs() -> Dict[Tuple[str, bool], Graph]:
    """Every graph by size and whether it has the auxiliary branch."""
    graphs = {}
    plain = {**_trunk('backbone', tuple(range(9))), **_neck(9)}
    # the training graphs of m, c and e start with a layer that keeps the image
    shifted = {i + 1: name for i, name in plain.items()}
    for size in 'ts':
        graphs[size, True] = Graph({**plain, **_aux_neck(22)}, 29)
        graphs[size, False] = Graph(plain, 22)
    for size in 'mc':
        aux = (26, 27, 28, 29, 31, 32, 34, 35, 37)
        graphs[size, True] = Graph(
            {
                **shifted,
                **_second_trunk('backbone.aux_trunk', range(23, 26), aux),
            },
            38,
        )
        graphs[size, False] = Graph(plain, 22)
    backbone = {
        **_trunk('backbone', tuple(range(1, 10))),
        **_second_trunk(
            'backbone.composite',
            range(10, 15),
            (15, 17, 19, 20, 22, 23, 25, 26, 28),
        ),
    }
    graphs['e', True] = Graph({**backbone, **_aux_neck(29), **_neck(36)}, 49)
    graphs['e', False] = Graph({**backbone, **_neck(29)}, 42)
    return graphs


GRAPHS = _graphs()
# Names inside the official blocks, in the order in which they are replaced.
BLOCK_RULES = [
    (r'^cv1\.(?=conv|bn)', 'main_conv.'),
    (r'^cv4\.', 'final_conv.'),
    (r'^cv2\.', 'block1.'),
    (r'^cv3\.', 'block2.'),
    (r'^(block\d\.0)\.cv1\.', r'\1.main_conv.'),
    (r'^(block\d\.0)\.cv2\.', r'\1.short_conv.'),
    (r'^(block\d\.0)\.cv3\.', r'\1.final_conv.'),
    (r'\.m\.(\d+)\.cv1\.conv1\.', r'.blocks.\1.conv1.rbr_dense.'),
    (r'\.m\.(\d+)\.cv1\.conv2\.', r'.blocks.\1.conv1.rbr_1x1.'),
    (r'\.m\.(\d+)\.cv2\.', r'.blocks.\1.conv2.'),
]


def _rename_inside(rest: str, convs: Set[str]) -> str:
    """Translate what follows a layer's index.

    Args:
        rest (str): The official name inside the layer.
        convs (set[str]): The layer's ``cv*`` children, which tell its type.
    """
    if 'cv4' in convs:  # RepNCSPELAN4 and ELAN1
        for pattern, replacement in BLOCK_RULES:
            rest = re.sub(pattern, replacement, rest)
        return rest
    if 'cv5' in convs:  # SPPELAN
        return rest.replace('cv1.', 'conv1.').replace('cv5.', 'conv2.')
    if 'cv2' in convs:  # ADown
        return rest.replace('cv1.', 'conv.').replace('cv2.', 'pool_conv.')
    return rest.replace('cv1.', '')  # AConv, Conv, CBLinear


def detect_graph(state_dict: StateDict) -> Tuple[str, bool]:
    """Tell size and kind of an official graph from its tensors.

    Args:
        state_dict (dict): Official names, ``{index}.{rest}``.

    Returns:
        tuple: The size and whether the auxiliary branch is there.

    Raises:
        ValueError: If it is none of the ten graphs.
    """
    foreign = [key for key in state_dict if not re.match(r'\d+\.', key)]
    if foreign:
        raise ValueError(
            f'not official YOLOv9 weights: {foreign[0]} does not begin with '
            "a layer's number"
        )
    last = max(int(key.split('.')[0]) for key in state_dict)
    stem = next(
        (
            state_dict[f'{i}.conv.weight'].shape[0]
            for i in (0, 1)
            if f'{i}.conv.weight' in state_dict
        ),
        0,
    )
    if last in (42, 49):
        return 'e', last == 49
    if last == 38 and stem in (32, 64):
        return {32: 'm', 64: 'c'}[stem], True
    has_repeats = any('.m.2.' in key for key in state_dict)
    size = {
        (16, True): 't',
        (32, True): 's',
        (32, False): 'm',
        (64, False): 'c',
    }.get((stem, has_repeats))
    if size is None or last not in (22, 29):
        raise ValueError(
            f'not a YOLOv9 graph this tool knows (last layer {last}, stem of '
            f'{stem} channels); it reads yolov9-* and gelan-* t, s, m, c, e'
        )
    return size, last == 29


def convert_state_dict(state_dict: StateDict) -> Tuple[StateDict, dict]:
    """Rename an official state_dict.

    Args:
        state_dict (dict): Official names, with or without ``model.``.

    Returns:
        tuple: Our state_dict (fp32), and a dict with ``size``, ``with_aux``,
        ``num_classes`` and ``cls_channels``.

    Raises:
        ValueError: If a tensor has no place in our model, or the weights
            were fused.
    """
    state_dict = {
        re.sub(r'^(model\.)+', '', key): value.float()
        if value.is_floating_point()
        else value
        for key, value in state_dict.items()
    }
    if any(re.search(r'\.m\.\d+\.cv1\.conv\.', key) for key in state_dict):
        raise ValueError(
            'these weights were fused for inference; convert '
            'the unfused checkpoint'
        )
    size, with_aux = detect_graph(state_dict)
    graph = GRAPHS[size, with_aux]
    convs = collections.defaultdict(set)
    for key in state_dict:
        index, child = key.split('.')[:2]
        convs[index].add(child)
    out: StateDict = {}
    info = dict(size=size, with_aux=with_aux)
    for key, value in state_dict.items():
        index, rest = key.split('.', 1)
        if int(index) == graph.detect:
            name = _rename_detect(rest, with_aux)
            if name is None:
                continue
            if name.startswith('bbox_head.head_module.cls_preds.0.2.weight'):
                info['num_classes'], info['cls_channels'] = value.shape[:2]
        elif int(index) in graph.layers:
            name = (
                f'{graph.layers[int(index)]}.'
                f'{_rename_inside(rest, convs[index])}'
            )
        else:
            raise ValueError(f'tensor {key} has no place in YOLOv9-{size}')
        out[name] = value
    if 'num_classes' not in info:
        raise ValueError('the class branch of the detection layer is missing')
    return out, info


def _rename_detect(rest: str, with_aux: bool) -> Optional[str]:
    """Translate the detection layer; None for its constant DFL kernel."""
    if rest.startswith('dfl'):
        return None
    branch, rest = rest.split('.', 1)
    modules = ['head_module']
    if with_aux:
        modules = ['aux_head_module', 'head_module']
    number = int(branch[2:]) - 2
    preds = ('reg_preds', 'cls_preds')[number % 2]
    return f'bbox_head.{modules[number // 2]}.{preds}.{rest}'


# What torch calls to rebuild a tensor from its storage.
REBUILDERS = {
    ('torch._utils', '_rebuild_tensor_v2'),
    ('torch._utils', '_rebuild_parameter'),
}


UNREADABLE = (
    'damaged, not a PyTorch file or from before torch 1.6; download it again'
)


class Inert:
    """What a class of the pickle becomes: it holds state and does nothing."""

    def __init__(self, *args: Any, **kwargs: Any):
        pass

    def __call__(self, *args: Any, **kwargs: Any) -> 'Inert':
        return Inert()

    def __setstate__(self, state: Any) -> None:
        self.__dict__.update(state if isinstance(state, dict) else {})


class InertUnpickler(pickle.Unpickler):
    """Rebuilds tensors and plain containers; everything else is inert."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ('collections', 'OrderedDict'):
            return collections.OrderedDict
        if (module, name) in REBUILDERS:
            return getattr(torch._utils, name)
        if module == 'torch' and isinstance(
            getattr(torch, name, None), torch.dtype
        ):
            return getattr(torch, name)
        return type(name, (Inert,), {})


def _collect(module: Any, prefix: str, out: StateDict) -> None:
    """Gather the tensors of an inert ``nn.Module``."""
    state = vars(module)
    for group in ('_parameters', '_buffers'):
        for name, value in state.get(group, {}).items():
            if isinstance(value, Tensor):
                out[prefix + name] = value.detach()
    for name, child in state.get('_modules', {}).items():
        if isinstance(child, Inert):
            _collect(child, f'{prefix}{name}.', out)


def read_official(path: str) -> StateDict:
    """Read official weights without running code of the file.

    Args:
        path (str): A ``.pt`` file: a state_dict, a dict that holds one, or
            the official pickle with ``ema`` or ``model``.

    Returns:
        dict: The state_dict under its official names.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read or no model is found in it.
    """
    if not osp.isfile(path):
        raise FileNotFoundError('no such file')
    try:
        data = torch.load(path, map_location='cpu', weights_only=True)
    except pickle.UnpicklingError:
        data = _load_inert(path)
    except (EOFError, RuntimeError):
        raise ValueError(UNREADABLE) from None
    if isinstance(data, dict):
        for key in ('ema', 'model', 'state_dict'):
            if data.get(key) is not None:
                data = data[key]
                break
    if isinstance(data, Inert):
        out: StateDict = {}
        _collect(data, '', out)
        data = out
    tensors = {}
    if isinstance(data, dict):
        tensors = {k: v for k, v in data.items() if isinstance(v, Tensor)}
    if not tensors:
        raise ValueError('found no model and no state_dict in it')
    return tensors


def _load_inert(path: str) -> Any:
    """Load a pickled model whose classes become inert containers."""
    if not zipfile.is_zipfile(path):  # written so since torch 1.6
        raise ValueError(UNREADABLE)
    reader = types.SimpleNamespace(
        Unpickler=InertUnpickler, __name__='inert_pickle'
    )
    return torch.load(
        path, map_location='cpu', pickle_module=reader, weights_only=False
    )


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description='Convert official YOLOv9 weights'
    )
    parser.add_argument('src', help='official .pt file')
    parser.add_argument('dst', help='path of the converted .pth file')
    return parser.parse_args()


def main() -> None:
    """Convert one file."""
    args = parse_args()
    try:
        state_dict, info = convert_state_dict(read_official(args.src))
    except (ValueError, FileNotFoundError) as error:
        raise SystemExit(f'{args.src}: {error}') from None
    torch.save(dict(state_dict=state_dict, meta=dict(yolov9=info)), args.dst)
    kind = 'training graph' if info['with_aux'] else 'inference graph'
    print(
        f'{args.dst}: YOLOv9-{info["size"]}, {kind}, '
        f'{info["num_classes"]} classes, class branch of '
        f'{info["cls_channels"]} channels, {len(state_dict)} tensors'
    )


if __name__ == '__main__':
    main()
