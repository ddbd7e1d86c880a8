# Semi-supervised training on NEU-DET at 224 px: labeled_20 and, without their
# labels, unlabeled_80. Epochs of phase 1 have 21 steps, of phase 2 they have 81.
_base_ = './semi_60e.py'

data_root = '{{$NEU_DET_ROOT:data/NEU-DET}}'
dataset = dict(type='NEUDETDataset', data_root=data_root)
hidden = dict(dataset, split='unlabeled_80')

train_dataloader = dict(dataset=dict(dataset, split='labeled_20'))
train_cfg = dict(
    unlabeled_dataloader=dict(dataset=dict(hidden, unlabeled=True)))
val_dataloader = dict(dataset=dict(dataset, split='dev'))
test_dataloader = dict(dataset=dict(dataset, split='paper_test'))

custom_hooks = [
    *_base_.custom_hooks,
    dict(type='PseudoLabelAuditHook', dataset=hidden),
]
