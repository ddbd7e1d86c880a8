# SteelSynth, the embedded synthetic data, at 224 px. Three seeds give three
# sets without a common image; each is generated once, on first use.
_base_ = './detection_224.py'

synth = dict(
    type='SteelSynthDataset', data_root='{{$DSYM_DATA:data}}/steel_synth')

train_dataloader = dict(dataset=dict(synth, num_images=240, seed=0))
val_dataloader = dict(dataset=dict(synth, num_images=60, seed=1))
test_dataloader = dict(dataset=dict(synth, num_images=60, seed=2))
