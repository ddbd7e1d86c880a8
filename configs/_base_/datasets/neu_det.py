# NEU-DET at 224 px: trained on the split labeled_20, tested on paper_test. To
# choose anything there is dev, 324 training images that labeled_20 leaves out.
# Set NEU_DET_ROOT to the folder that holds IMAGES/ and ANNOTATIONS/.
_base_ = './detection_224.py'

data_root = '{{$NEU_DET_ROOT:data/NEU-DET}}'
train_set = dict(
    type='NEUDETDataset', data_root=data_root, split='labeled_20')
test_set = dict(type='NEUDETDataset', data_root=data_root, split='paper_test')

train_dataloader = dict(dataset=train_set)
val_dataloader = dict(dataset=dict(test_set, split='dev'))
test_dataloader = dict(dataset=test_set)
