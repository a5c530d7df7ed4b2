"""The smallest sweep that trains: one row, one seed, one epoch."""

SWEEP = """
name: mini
question: Does it run?
base: [model=cut, model.generator.channels=4, model.discriminator.channels=4, train.constant_epochs=1,
       train.decay_epochs=0, train.log_every_steps=4, data.size=32, data.train_count=8, data.test_count=8]
seeds: [0]
rows: [{row: CUT, set: {model.temperature: 0.07}}]
"""
