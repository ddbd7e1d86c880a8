from typing import Any, Dict, List, Optional, Union

from mmengine.logging import print_log
from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class GroupedOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """MMEngine's constructor with one group for all alike parameters.

    MMEngine's own makes a group of each parameter, so that a fused or foreach
    optimizer is called once a parameter: 897 times a step for YOLOv9-t.
    Parameters with the same settings share a group here. Biases have groups
    of their own, marked ``is_bias=True`` for :class:`BiasWarmupHook`, and so
    have the weights of hidden layers, marked ``is_hidden=True`` for
    :class:`MuonAdamW`: matrices and convolutions of layers without a bias,
    because a norm follows or, in a scan, nothing that a scale would hurt.
    mamba-ssm's marks hold: ``_no_weight_decay`` for rates and skips,
    ``_no_reinit`` for the bias of the step sizes, which a bias warm-up would
    throw out of their range. ``_no_warmup`` marks the other biases of a scan:
    until its last projection leaves zero their gradients are small, but Adam's
    steps are not, and 100 of them would add up to 5. Every parameter of the
    model is in, whatever its name.

    Args:
        optim_wrapper_cfg (dict): As in ``DefaultOptimWrapperConstructor``.
        paramwise_cfg (dict, optional): As there, but a parameter that two
            modules share is taken once. Defaults to None.
    """

    def __init__(
        self,
        optim_wrapper_cfg: Dict[str, Any],
        paramwise_cfg: Optional[Dict[str, Any]] = None,
    ) -> None:
        # Without any setting the base class would not ask for groups.
        paramwise_cfg = {'bypass_duplicate': True, **(paramwise_cfg or {})}
        super().__init__(optim_wrapper_cfg, paramwise_cfg)

    def add_params(
        self,
        params: List[Dict[str, Any]],
        module: nn.Module,
        prefix: str = '',
        is_dcn_module: Optional[Union[int, float]] = None,
    ) -> None:
        """Add a module's parameters and merge the groups at the end.

        Args:
            params (list[dict]): Groups so far, changed in place.
            module (nn.Module): What is added, with its children.
            prefix (str): Its name in the model. Defaults to '', the model.
            is_dcn_module (int or float, optional): As in the base class.
        """
        own = list(module.parameters())
        if prefix and own and not any(x.requires_grad for x in own):
            # the base class would warn of each, in YOLOv9-t 897 of a teacher
            print_log(
                f'{prefix}: its {len(own)} parameters are frozen', 'current'
            )
            return
        super().add_params(params, module, prefix, is_dcn_module)
        if prefix:
            return
        biases, hidden = set(), set()
        for layer in module.modules():
            bias = getattr(layer, 'bias', None)
            weight = getattr(layer, 'weight', None)
            if isinstance(bias, nn.Parameter):
                biases.add(id(bias))
            elif isinstance(weight, nn.Parameter) and weight.ndim > 1:
                hidden.add(id(weight))
        merged: Dict[str, Dict[str, Any]] = {}
        for group in params:
            settings = {k: v for k, v in group.items() if k != 'params'}
            (parameter,) = group['params']
            # dt_proj.bias too, which a custom key takes from the other biases
            if getattr(parameter, '_no_weight_decay', False) or getattr(
                parameter, '_no_reinit', False
            ):
                settings['weight_decay'] = 0.0
            settings['is_bias'] = id(parameter) in biases and not any(
                hasattr(parameter, mark)
                for mark in ('_no_reinit', '_no_warmup')
            )
            settings['is_hidden'] = id(parameter) in hidden
            # of a custom key they may be lists
            key = repr(sorted(settings.items()))
            merged.setdefault(key, dict(settings, params=[]))
            merged[key]['params'] += group['params']
        params[:] = merged.values()
