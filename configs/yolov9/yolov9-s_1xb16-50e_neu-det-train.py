"""YOLOv9-s from scratch on all of NEU-DET's training labels, at 224 px."""
_base_ = './yolov9-s_1xb16-200e_neu-det-labeled20.py'

# The validation set, dev, is among these images: no checkpoint may be selected.
train_dataloader = dict(dataset=dict(split='train'))
train_cfg = dict(max_epochs=50)  # of 1,620 images: 81,000
