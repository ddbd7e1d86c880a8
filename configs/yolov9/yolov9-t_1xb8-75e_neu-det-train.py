"""YOLOv9-t from scratch on all of NEU-DET's training labels (1,620 images), at 224 px."""
_base_ = './yolov9-t_1xb8-75e_neu-det-labeled20.py'

train_dataloader = dict(dataset=dict(split='train'))
