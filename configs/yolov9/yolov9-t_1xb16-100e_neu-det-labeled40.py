"""YOLOv9-t from scratch on 40% of NEU-DET's labels (648 images), at 224 px."""
_base_ = './yolov9-t_1xb16-200e_neu-det-labeled20.py'

# The validation set, dev, is among these images: no checkpoint may be selected.
train_dataloader = dict(dataset=dict(split='labeled_40'))
train_cfg = dict(max_epochs=100)  # 64,800 images
