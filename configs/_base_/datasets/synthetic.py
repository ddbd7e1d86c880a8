# Synthetic images beside labeled_20, as many as real ones: a config wraps its
# training set in it. DSYM_PAINTER, DSYM_DETECTOR and DSYM_CLIP name what paints
# and judges them; a detector and a CLIP of the same labels are in the package.
synthetic = dict(
    type='DiffusionAugment',
    ratio=1.0,
    layout=dict(background='replace', decoys=1),
    painter=dict(
        type='DiffusionPainter',
        model='{{$DSYM_PAINTER:work_dirs/diffusion/diffusion}}',
        num_steps=20,
        strength=0.6),
    gate=dict(
        detector=dict(
            config='{{fileDirname}}/../../yolov9/yolov9-t_1xb16-200e_neu-det-'
            'labeled20.py',
            checkpoint='{{$DSYM_DETECTOR:dsym://yolov9-t_neu-det-labeled20}}'),
        clip='{{$DSYM_CLIP:dsym://clip-rn-t_neu-det-labeled20}}'))
