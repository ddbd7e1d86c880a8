# 3.1 M parameters: CLIP's ResNet, a quarter as wide as RN50 and with 5 of its 16
# blocks, and a text tower for a few dozen prompts, half of it the vocabulary.
model = dict(
    type='CLIPGrader',
    clip=dict(
        model_cfg=dict(
            embed_dim=128,
            vision_cfg=dict(
                image_size=96, layers=[1, 1, 2, 1], width=16, head_width=32),
            text_cfg=dict(context_length=24, width=32, heads=2, layers=2)),
        preprocess_cfg=dict(resize_mode='squash')),
    classes=('crazing', 'inclusion', 'patches', 'pitted_surface',
             'rolled-in_scale', 'scratches'),
    prompts=dict(
        center=True,
        defect=('a photo with {defect_type} defect',
                'a close-up of {defect_type} on steel'),
        misplaced=('a photo with a part of {defect_type} defect',
                   'a badly cut photo of {defect_type} on steel'),
        normal=('a photo of steel without defect',
                'a close-up of flawless steel')),
    regions=dict(way='dense', image_size=192, expand=(1.0, ), center=True),
    sampler=dict(per_box=2))
