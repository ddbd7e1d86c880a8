# YOLOv9-t with its auxiliary branch. The other sizes change `arch` and the
# head's channels; your own classes change bbox_head.head_module.num_classes.
model = dict(
    type='mmyolo.YOLODetector',
    data_preprocessor=dict(
        type='mmyolo.YOLOv5DetDataPreprocessor',
        mean=[0., 0., 0.],
        std=[255., 255., 255.],
        bgr_to_rgb=True),
    backbone=dict(type='YOLOv9Backbone', arch='t'),
    neck=dict(type='YOLOv9PAFPN', arch='t'),
    bbox_head=dict(
        type='YOLOv9Head',
        head_module=dict(
            type='YOLOv9HeadModule', num_classes=6, in_channels=[64, 96, 128]),
        aux_head_module=dict(
            type='YOLOv9HeadModule', in_channels=[64, 96, 128])),
    train_cfg=dict(
        assigner=dict(
            type='SparseTaskAlignedAssigner',
            topk=10,
            alpha=0.5,
            beta=6.0,
            eps=1e-9,
            use_ciou=True)),
    test_cfg=dict(
        multi_label=True,
        nms_pre=30000,
        score_thr=0.001,
        nms=dict(type='nms', iou_threshold=0.7),
        max_per_img=300))
