import torch


def faster_in_bf16(device: str) -> bool:
    """Tell whether a device is faster in bfloat16 than in float32.

    Support alone says nothing: emulated bfloat16 is slower than float32, and
    so are the AVX512-BF16 instructions of an Intel Xeon without AMX, which
    multiply no faster than its two float32 units (1.26 times the time of
    a training step of YOLOv9-t, 1.63 times that of the painter;
    docs/training.md).

    Args:
        device (str): Type of device, as ``mmengine.device.get_device`` has it.

    Returns:
        bool: On a CPU, whether it has AMX.
    """
    if device == 'cpu':
        probe = getattr(torch.cpu, '_is_amx_tile_supported', None)
        return probe is not None and probe()
    if device == 'cuda':
        return torch.cuda.get_device_capability() >= (8, 0)
    return False
